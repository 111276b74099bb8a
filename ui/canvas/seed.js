// The kept seed beside Generate. A form that is filled while its folds are closed tells nobody of its changes: then this asks.
const mark = element.querySelector(".seed-kept");
function render() {
  mark.hidden = !props.value;
  mark.querySelector("span").textContent = props.value ? `Seed ${String(props.value).slice(0, 24)} kept` : "";
  mark.setAttribute("aria-label", `Seed ${props.value} is kept. Free it`);
}
mark.addEventListener("click", () => {
  trigger("clear");
  document.getElementById("go")?.focus();
});
for (const name of ["easel:filled", "easel:ready"]) window.addEventListener(name, () => trigger("apply"));
watch("value", render);
render();
