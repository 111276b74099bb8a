() => {
  const isText = (at) => at?.matches?.("textarea, input:not([type=range]):not([type=checkbox]):not([type=radio])");
  const passFrame = () => new Promise((done) => { requestAnimationFrame(() => setTimeout(done)); setTimeout(done, 500); });

  // A list that is left keeps what was typed into it where that names one of its choices. The framework wants an Enter, and some frames after it.
  const begun = new WeakMap();
  document.addEventListener("focusin", ({ target }) => { if (target.role === "combobox") begun.set(target, target.value); });
  // Caught on its way down: the framework's own listener puts the old choice back.
  document.addEventListener("blur", ({ target }) => {
    if (target.role !== "combobox" || target.value === begun.get(target)) return;
    const typed = target.value.trim().toLowerCase();
    const choices = [...(document.getElementById(target.getAttribute("aria-controls"))?.children || [])].filter((one) => one.ariaLabel?.toLowerCase().includes(typed));
    const meant = choices.find((one) => one.ariaLabel.toLowerCase() === typed) || (choices.length === 1 && choices[0]);
    if (typed && meant) meant.dispatchEvent(new MouseEvent("mousedown", { bubbles: true, cancelable: true }));
  }, true);

  // Generate draws what stands there now: a field that holds back what was typed into it gives it up when it is left, the framework takes it over some
  // frames later, and an answer of the server that fills the form is waited for.
  async function settle() {
    const held = document.activeElement;
    if (isText(held)) {
      held.blur();
      // A list would open again.
      if (held.role !== "combobox") held.focus({ preventScroll: true });
    }
    for (let frames = 3; frames > 0; frames -= 1) await passFrame();
    while (window.easelFilling > Date.now() - 3000) await passFrame();
  }
  // A double click, or a key that is held down, asks for one picture: a second one is a second thought.
  let isSettling = false, isSettled = false;
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("#go, #beside");
    if (!button || isSettled) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    if (event.detail > 1 || isSettling) return;
    isSettling = true;
    await settle();
    isSettling = false;
    isSettled = true;
    button.click();
    isSettled = false;
  }, true);
}
