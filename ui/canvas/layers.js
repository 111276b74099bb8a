// What lies over the page, the newest on top. Escape closes the topmost one only, and what opened it has the focus again.
const layers = [];
const isHere = (one) => one?.isConnected && one.offsetParent !== null;

window.easelLayers = {
  // `close` hides it; false says that it was gone already. Said as it opens, before the focus moves.
  open(name, close, opener = document.activeElement) {
    this.shut(name, false);
    layers.push({ name, close, opener });
  },
  // It is closed, by whatever way; the focus goes back unless something else has it.
  shut(name, isFocusKept = true) {
    const at = layers.findIndex((one) => one.name === name);
    if (at < 0) return;
    const [{ opener }] = layers.splice(at, 1);
    if (isFocusKept && isHere(opener)) opener.focus({ preventScroll: true });
  },
  // True where there was something to close.
  escape() {
    for (let top = layers.at(-1); top; top = layers.at(-1)) {
      const wasHere = top.close() !== false;
      this.shut(top.name, wasHere);
      if (wasHere) return true;
    }
    return false;
  },
};
