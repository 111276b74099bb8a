() => {
  // The framework names each radio by itself; of one name they are a group as the platform knows it: one Tab stop, and the arrows choose.
  const name = (room) => {
    for (const one of room.querySelectorAll("input[type=radio]")) {
      const group = one.closest("fieldset");
      one.dataset.group = `radios-${group.closest("[id]").id}`;
      if (one.name === one.dataset.group) continue;
      one.name = one.dataset.group;
      // Heard with its title, as it is seen.
      group.setAttribute("role", "radiogroup");
      group.setAttribute("aria-label", group.querySelector("[data-testid=block-info]")?.textContent.trim() || "");
    }
  };
  // They come and go with their folds, and the framework writes its own names again when a choice changes.
  const find = () => {
    const room = document.getElementById("controls");
    if (!room) return;
    waiting.disconnect();
    name(room);
    new MutationObserver(() => name(room)).observe(room, { childList: true, subtree: true, attributes: true, attributeFilter: ["name"] });
  };
  const waiting = new MutationObserver(find);
  waiting.observe(document.body, { childList: true, subtree: true });
  find();
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (!target.dataset?.group || target.type !== "radio" || !["Home", "End"].includes(key)) return;
    const open = [...document.querySelectorAll(`input[name="${target.name}"]:not(:disabled)`)];
    event.preventDefault();
    const wanted = key === "Home" ? open[0] : open.at(-1);
    wanted.focus();
    wanted.click();
  });
}
