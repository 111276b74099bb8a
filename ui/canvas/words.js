// How the encoders read the prompt, and what is odd about it. The counter follows the hand; sentences wait until it rests.
const box = element.querySelector(".words"), control = box.dataset.control, $ = (selector) => box.querySelector(selector);
const SOON = 150, CALM = 700, about = __ABOUT__;
let timer = 0, asked = 0, typed = 0, waiting = 0, stop = null;

const field = () => document.querySelector(`#ctl-${control} textarea`);

async function ask() {
  const mine = ++asked;
  stop?.abort();
  stop = new AbortController();
  const text = props.value || "";
  try {
    const answer = await fetch("/live/words", {
      method: "POST", signal: stop.signal, headers: { "X-Easel": "1", "Content-Type": "application/json" }, body: JSON.stringify({ control, text, model: window.easelModel?.name }),
    });
    if (!answer.ok || mine !== asked) return;
    const found = await answer.json();
    if (mine !== asked) return;
    count(found.counts);
    clearTimeout(waiting);
    // A note that is mended goes at once; a new one must not flicker while a bracket is still being closed.
    if (!found.remarks.length) remark([]);
    if (!found.is_new) strange(found);
    waiting = setTimeout(() => { remark(found.remarks); strange(found); }, Math.max(0, CALM - (Date.now() - typed)));
  } catch { /* too late, or offline: the stage says so */ }
}

function count(counts) {
  const shown = counts.map((one) => `${one.encoder ? `${one.encoder} ` : ""}${one.last} / ${one.room}${one.chunks > 1 ? ` · ${one.chunks} × ${one.room}` : ""}`);
  const said = counts.map((one) => `${one.encoder ? `${one.encoder}: ` : ""}${one.last} of ${one.room} tokens used in ${one.chunks > 1 ? `the last of ${one.chunks} chunks` : "one chunk"}`);
  $(".words-count").textContent = shown.join(" · ");
  $(".words-count").title = counts.some((one) => one.chunks > 1) ? "Long prompts are read whole, in chunks; BREAK begins a new one" : "Tokens, as the model counts them";
  $(".words-count").setAttribute("aria-label", said.join(", "));
}

function remark(remarks) {
  const first = remarks[0], note = $(".words-note");
  if (note.textContent !== (first?.text || "")) note.textContent = first?.text || "";
  note.classList.toggle("is-refusal", Boolean(first?.is_refusal));
  const area = field();
  area?.setAttribute("aria-describedby", note.id);
  area?.toggleAttribute("aria-invalid", false);
  if (first?.is_refusal) area?.setAttribute("aria-invalid", "true");
}

function strange({ is_new, unknown }) {
  const words = unknown.length ? `: ${unknown.join(", ")}` : "";
  $(".words-new").hidden = !is_new;
  if (is_new) $(".words-strange").textContent = `Most of these words are new to ${window.easelModel?.title || about.model}${words}. It draws a guess.`;
}

$(".words-larger").addEventListener("click", () => {
  const how = $(".words-how");
  how.hidden = !how.hidden;
  $(".words-larger").setAttribute("aria-expanded", String(!how.hidden));
  how.textContent = `${window.easelModel?.note ?? about.note} Larger models know more: the Models tab shows which are here and which could be. Their folders go into data/models.`.trim();
});

window.addEventListener("easel:model", ask);
watch("value", () => {
  typed = Date.now();
  clearTimeout(timer);
  timer = setTimeout(ask, SOON);
});
ask();
