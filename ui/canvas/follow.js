// One stream for the whole page, opened before the framework begins. It tells the parts by events of the window, and opens itself again when it breaks.
const AGAIN_MS = 250, AGAIN_MAX_MS = 4000, SILENT_MS = 9000;
const told = (window.easelTold = {});
let stream = null, heard = 0, timer = 0, wait = AGAIN_MS, isFirst = true, isBusy = false, leaveHidden = null;

// The first word may come before there is a body.
function mark(state) { if (document.body) document.body.dataset.line = state; }
function openStream() {
  closeStream();
  heard = Date.now();
  const at = document.querySelector(".stage")?.dataset.at || "";
  stream = new EventSource(`/follow?${isFirst ? "fresh=true" : `at=${encodeURIComponent(at)}`}`);
  stream.onmessage = (event) => {
    heard = Date.now();
    wait = AGAIN_MS;
    isFirst = false;
    mark("open");
    const message = JSON.parse(event.data);
    Object.assign(told, message);
    if (message.line) isBusy = message.line.some((row) => row.state === "running" || row.state === "queued");
    window.dispatchEvent(new CustomEvent("easel:told", { detail: message }));
    if (document.hidden) rest();
  };
  stream.onerror = () => {
    // The browser would ask again for what it asked at first; by now the page shows something else.
    closeStream();
    mark("gone");
    window.dispatchEvent(new Event("easel:gone"));
    timer = setTimeout(openStream, wait);
    wait = Math.min(2 * wait, AGAIN_MAX_MS);
  };
}
function closeStream() {
  clearTimeout(timer);
  stream?.close();
  stream = null;
}
// A browser opens six streams to one place, over all its tabs. So of the tabs that nobody sees one keeps its stream, while something runs.
function rest() {
  if (!isBusy) return letGo();
  if (leaveHidden || !navigator.locks) return;
  leaveHidden = () => {};
  navigator.locks.request("easel-hidden", { ifAvailable: true }, (lock) => {
    if (!lock) { leaveHidden = null; if (document.hidden) letGo(); return null; }
    return new Promise((leave) => { leaveHidden = () => { leaveHidden = null; leave(); }; if (!document.hidden) leaveHidden(); });
  });
}
function letGo() {
  leaveHidden?.();
  closeStream();
  mark("resting");
}
function wake() {
  leaveHidden?.();
  if (!stream || Date.now() - heard > SILENT_MS) openStream();
}

document.addEventListener("visibilitychange", () => (document.hidden ? rest() : wake()));
window.addEventListener("online", openStream);
window.addEventListener("pageshow", (event) => { if (event.persisted) openStream(); });
window.addEventListener("pagehide", closeStream);
// A line that is dead without an error: the server says something every four seconds.
setInterval(() => { if (stream && !document.hidden && Date.now() - heard > SILENT_MS) openStream(); }, 2000);
openStream();

window.easelAsk = async (path, body) => {
  try {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json", "X-Easel": "1" }, body: JSON.stringify(body) });
    const found = await answer.json();
    return answer.ok ? found : { error: [found.message || found.detail || "This did not work.", found.hint].filter((one) => typeof one === "string").join(" ") };
  } catch {
    return { error: "The studio cannot be reached. Your jobs go on; try again in a moment." };
  }
};
