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

  // What is in a fold comes when it is opened, and takes its kept values some frames later: what a hand has typed by then stands, half a number too.
  const NEW_MS = 1500, born = new WeakMap(), typed = new WeakMap();
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) for (const one of addedNodes) one.querySelectorAll?.("input, textarea").forEach((field) => born.set(field, Date.now()));
  }).observe(document.body, { childList: true, subtree: true });
  document.addEventListener("input", ({ target, isTrusted }) => {
    const isNew = isTrusted && isText(target) && target.role !== "combobox" && target.closest(".fold") && Date.now() - born.get(target) < NEW_MS;
    if (!isNew) return;
    const isWatched = typed.has(target);
    typed.set(target, target.value);
    if (!isWatched) keepTyped(target);
  }, true);
  // Between two keys, too.
  document.addEventListener("beforeinput", ({ target, isTrusted }) => {
    if (isTrusted && typed.has(target) && target.value !== typed.get(target)) target.value = typed.get(target);
  }, true);
  async function keepTyped(field) {
    while (Date.now() - born.get(field) < NEW_MS && field.isConnected && document.activeElement === field) {
      if (field.value !== typed.get(field)) {
        field.value = typed.get(field);
        field.dispatchEvent(new Event("input", { bubbles: true }));
      }
      await passFrame();
    }
    typed.delete(field);
  }

  // A number that cannot be is held back while it is written, and brought into its bounds when it is left: half a number would only be refused.
  const good = new WeakMap();
  const isOdd = (at) => at?.matches?.("#controls input[type=number]") && (at.value === "" || at.validity.rangeUnderflow || at.validity.rangeOverflow);
  document.addEventListener("input", (event) => {
    if (isOdd(event.target)) event.stopImmediatePropagation();
    else if (event.target.matches?.("#controls input[type=number]")) good.set(event.target, event.target.value);
  }, true);
  document.addEventListener("focusin", ({ target }) => { if (target.type === "number" && !isOdd(target)) good.set(target, target.value); });
  document.addEventListener("blur", ({ target }) => {
    if (!isOdd(target)) return;
    const { value, min, max, validity } = target;
    target.value = value === "" ? good.get(target) ?? min : validity.rangeUnderflow ? min : max;
    target.dispatchEvent(new Event("input", { bubbles: true }));
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
  // A map that is still being made comes first: the wish stands beside Generate meanwhile, and Stop takes it back.
  let isAwaiting = false;
  const needsMaps = () => window.easelMaps > 0 && ["controlnet", "img2img", "inpaint"].includes(document.body.dataset.mode);
  const tell = (text) => window.dispatchEvent(new CustomEvent("easel:refused", { detail: text ? { text, isQuiet: true } : null }));
  async function awaitMaps() {
    if (!needsMaps()) return true;
    isAwaiting = true;
    document.body.toggleAttribute("data-awaiting", true);
    tell("Making the map, then drawing. Stop takes it back.");
    while (isAwaiting && needsMaps()) await new Promise((done) => setTimeout(done, 60));
    const isWanted = isAwaiting;
    isAwaiting = false;
    document.body.toggleAttribute("data-awaiting", false);
    tell(isWanted ? "" : "Taken back: nothing is drawn.");
    return isWanted;
  }
  // Before the stage hears of it: what runs goes on, only the wish is gone.
  window.addEventListener("click", (event) => {
    if (!isAwaiting || !event.target.closest("#halt")) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    isAwaiting = false;
  }, true);

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
    const isWanted = await awaitMaps();
    isSettling = false;
    if (!isWanted) return;
    isSettled = true;
    button.click();
    isSettled = false;
  }, true);
}
