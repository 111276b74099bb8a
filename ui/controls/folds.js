// A word on each closed fold whose settings are not the usual ones.
const LABELS = __LABELS__, OWN = __OWN__;
const short = (text) => { const words = String(text || "").trim(); return words.length > 22 ? `${words.slice(0, 21).trim()}…` : words; };
const isNumber = (value, usual) => value != null && value !== "" && Math.abs(Number(value) - usual) > 1e-6;
const many = (count, one) => (count ? `${count} ${one}${count > 1 ? "s" : ""}` : "");

// What each fold says, most telling first; what is empty is not said.
const says = {
  "negative-fold": (form) => [short(form.negative_prompt)],
  "loras-fold": (form) => [many((form.rack || []).filter((one) => one && !one.is_muted).length, "LoRA")],
  "guidance-fold": (form) => [
    form.guidance_style && form.guidance_style !== "cfg" && LABELS.style[form.guidance_style],
    form.score_guidance && LABELS.score[form.score_guidance],
    isNumber(form.guidance_rescale, 0) && "rescale",
    (isNumber(form.guidance_start, 0) || isNumber(form.guidance_end, 1)) && "part of the steps",
  ],
  "ctl-vary": (form) => [{ grid: "grid", dataset: "dataset" }[form.sheet]],
  "expert-fold": (form) => [
    form.is_seed_kept && String(form.seed || "").trim() && "seed kept",
    isNumber(form.variation_strength, 0) && "variation",
    (form.width || form.height) && "own size",
    form.seamless && "seamless",
    form.clip_skip && "clip skip",
    form.vae && "VAE",
    form.schedule && "noise schedule",
    form.scheduler && OWN[window.easelModel?.name ?? Object.keys(OWN)[0]] !== form.scheduler && LABELS.scheduler[form.scheduler],
  ],
  "edge-fold": (form) => [(isNumber(form.feather, 8) || isNumber(form.padding, 32) || form.is_soft) && "changed"],
  "tiles-fold": (form) => [isNumber(form.overlap, 64) && "overlap"],
};
function tell(form) {
  for (const [id, words] of Object.entries(says)) {
    const found = words(form).filter(Boolean), title = document.querySelector(`#${id} > button > span:first-child`);
    // Two are enough for one line; the others are counted.
    const text = found.length > 2 ? `${found.slice(0, 2).join(", ")} +${found.length - 2}` : found.join(", ");
    if (text) title?.setAttribute("data-says", text);
    else title?.removeAttribute("data-says");
  }
}
window.addEventListener("easel:form", ({ detail }) => tell(detail));
for (const name of ["easel:filled", "easel:ready", "easel:model"]) window.addEventListener(name, () => trigger("apply"));
