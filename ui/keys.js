() => {
  const dark = localStorage.getItem("easel_theme");
  const setTheme = (isDark) => { document.body.classList.toggle("dark", isDark); document.documentElement.classList.toggle("dark", isDark); };
  if (!new URLSearchParams(location.search).get("__theme")) setTheme(dark !== "light");
  const isTyping = (at) => at.closest?.("textarea, select, input:not([type=range]):not([type=checkbox]):not([type=radio]), [contenteditable]");
  const help = document.getElementById("keys");
  // It keeps the keyboard until it is closed; the browser then gives the focus back.
  const toggleHelp = (wanted = !help.open) => { if (wanted !== help.open) wanted ? help.showModal() : help.close(); };
  help.addEventListener("click", (event) => { if (event.target === help) help.close(); });
  const tell = (name, detail) => window.dispatchEvent(new CustomEvent(name, { detail }));
  // Of two that are shown the newest is the last.
  const closeToast = () => { const button = [...document.querySelectorAll(".toast-close")].at(-1); button?.click(); return Boolean(button); };
  const press = (id) => { const button = document.getElementById(id); if (button && button.offsetParent !== null) { button.click(); return true; } return false; };
  const setView = (view) => { document.body.dataset.view = view; if (view !== "compare") window.easelLayers.shut("compare"); };

  // On a phone the stage stands above the form: who asks for a picture is taken there, unless its top is in the upper half of the screen.
  function showStage() {
    const stage = document.getElementById("stage-column"), { top } = stage.getBoundingClientRect();
    if (!matchMedia("(max-width: 900px)").matches || (top >= 0 && top < innerHeight / 2)) return;
    stage.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth" });
  }

  // Undo over the whole form: each settled state is one entry; setting a state back is not a change of its own.
  const past = [];
  let now = -1, isMoving = false;
  window.easelForm = {
    keep(values) {
      const text = JSON.stringify(values);
      if (isMoving || (past[now] && past[now].text === text)) return;
      const isTypingOn = past[now] && Date.now() - past[now].at < 700;
      if (isTypingOn && now > 0) past[now] = { text, at: Date.now() };
      else { past.length = now + 1; past.push({ text, at: Date.now() }); now = past.length - 1; }
      this.show();
    },
    // The past belongs to another model.
    forget() { past.length = 0; now = -1; this.show(); },
    // What comes next is an entry of its own, however soon it comes.
    settle() { if (past[now]) past[now].at = 0; },
    go(by) {
      now = Math.min(Math.max(now + by, 0), past.length - 1);
      isMoving = true;
      setTimeout(() => { isMoving = false; }, 600);
      this.show();
      return past[now] ? JSON.parse(past[now].text) : [];
    },
    show() {
      for (const [id, isOpen, name] of [["undo", now > 0, "Undo in the form"], ["redo", now < past.length - 1, "Redo in the form"]]) {
        const button = document.getElementById(id);
        button?.toggleAttribute("disabled", !isOpen);
        // A sign has no name that could be read out.
        button?.setAttribute("aria-label", name);
        button?.setAttribute("title", name);
      }
    },
  };
  window.easelForm.show();
  for (const name of ["pointerdown", "keydown", "input"]) addEventListener(name, (event) => { if (event.isTrusted) window.easelTouched = true; }, { capture: true });

  // What lies at the end of a phone's page keeps clear of the bar, which is higher while it has more to say.
  addEventListener("easel:ready", () => {
    const bar = document.getElementById("go-row");
    new ResizeObserver(() => document.documentElement.style.setProperty("--bar", `${bar.offsetHeight}px`)).observe(bar);
  }, { once: true });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#theme-toggle, [data-theme-toggle]")) {
      const isDark = !document.body.classList.contains("dark");
      setTheme(isDark);
      localStorage.setItem("easel_theme", isDark ? "dark" : "light");
    }
    if (event.target.closest("#keys-open")) toggleHelp(true);
    if (event.target.closest("#keys-close")) toggleHelp(false);
    if (event.target.closest("#go")) showStage();
    const view = event.target.closest("[data-set-view]")?.dataset.setView;
    if (view) setView(view);
  });
  // Caught on its way down: a list would take the Enter for itself.
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key !== "Enter" || document.querySelector("dialog:modal")) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) press("go");
  }, true);
  // A list of the framework's closes itself, and by the time that the key comes past here it has.
  let wasListOpen = false;
  document.addEventListener("keydown", ({ target }) => { wasListOpen = target.role === "combobox" && target.ariaExpanded === "true" && !target.matches("[type=search]"); }, true);
  document.addEventListener("keydown", (event) => {
    // A dialog that keeps the keyboard has all keys for itself: Esc closes it and stops nothing.
    if (document.querySelector("dialog:modal")) {
      if (event.key === "?" && help.open) toggleHelp(false);
      return;
    }
    if (event.key === "Escape") {
      // One thing at a time, the topmost first; Stop comes last.
      if (wasListOpen) return;
      if (closeToast() || window.easelLayers.escape()) return;
      press("halt");
      return;
    }
    if (isTyping(event.target)) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") { event.preventDefault(); press(event.shiftKey ? "redo" : "undo"); return; }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      ArrowLeft: () => tell("easel:step", -1), ArrowRight: () => tell("easel:step", 1),
      f: () => tell("easel:do", "full"), u: () => tell("easel:do", "reuse"), "?": () => toggleHelp(),
      p: () => { if (document.body.dataset.mode === "inpaint") setView(document.body.dataset.view === "paint" ? "result" : "paint"); },
    };
    for (const number of [1, 2, 3, 4, 5]) actions[number] = () => tell("easel:choose", number - 1);
    // On a slider the arrows belong to the slider.
    if (event.target.matches?.("input[type=range], input[type=radio]") && event.key.startsWith("Arrow")) return;
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action) { event.preventDefault(); action(); }
  });
}
