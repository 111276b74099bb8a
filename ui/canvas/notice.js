// The end of the work, told where nobody looks: a sound, a word of the system. Both are off until a click in the settings asks for them.
const isOn = (name) => localStorage.getItem(name) === "on";
const ENDS = { done: "Your picture is finished.", failed: "A picture could not be drawn.", stopped: "Stopped." };
let player = null;

function chime(isGood) {
  try {
    player = player || new AudioContext();
    if (player.state === "suspended") player.resume();
    const from = player.currentTime;
    (isGood ? [660, 880] : [440, 330]).forEach((pitch, number) => {
      const tone = player.createOscillator(), loud = player.createGain();
      tone.frequency.value = pitch;
      loud.gain.setValueAtTime(0, from + 0.16 * number);
      loud.gain.linearRampToValueAtTime(0.12, from + 0.16 * number + 0.02);
      loud.gain.exponentialRampToValueAtTime(0.001, from + 0.16 * number + 0.4);
      tone.connect(loud).connect(player.destination);
      tone.start(from + 0.16 * number);
      tone.stop(from + 0.16 * number + 0.42);
    });
  } catch { /* A browser without sound stays silent. */ }
}
function notify(kind) {
  if (!isOn("easel_notify") || !document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
  try {
    const note = new Notification("Easel", { body: ENDS[kind], tag: "easel" });
    note.onclick = () => { window.focus(); note.close(); };
  } catch { /* Phones show notes only for installed pages. */ }
}
window.easelChime = chime;
window.addEventListener("easel:told", ({ detail: { ended } }) => {
  if (!ended || ended.kind === "stopped" || (ended.left && ended.kind === "done")) return;
  if (isOn("easel_sound")) chime(ended.kind === "done");
  notify(ended.kind);
});
