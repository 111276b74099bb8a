() => {
  const dark = localStorage.getItem("easel_theme");
  const setTheme = (isDark) => { document.body.classList.toggle("dark", isDark); document.documentElement.classList.toggle("dark", isDark); };
  if (!new URLSearchParams(location.search).get("__theme")) setTheme(dark !== "light");
  const isTyping = (at) => at.closest?.("textarea, input:not([type=range]):not([type=checkbox]):not([type=radio]), [contenteditable]");
  const help = document.getElementById("keys");
  const toggleHelp = (wanted) => { if (help) help.toggleAttribute("open", wanted ?? !help.hasAttribute("open")); };
  const tell = (name, detail) => window.dispatchEvent(new CustomEvent(name, { detail }));
  const press = (id) => { const button = document.getElementById(id); if (button && button.offsetParent !== null) { button.click(); return true; } return false; };
  document.addEventListener("click", (event) => {
    if (event.target.closest("#theme-toggle")) {
      const isDark = !document.body.classList.contains("dark");
      setTheme(isDark);
      localStorage.setItem("easel_theme", isDark ? "dark" : "light");
    }
    if (event.target.closest("#keys-open")) toggleHelp(true);
    if (event.target.closest("#keys-close")) toggleHelp(false);
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") { event.preventDefault(); press("go"); return; }
    if (event.key === "Escape") {
      if (help?.hasAttribute("open")) return toggleHelp(false);
      if (document.querySelector(".stage.is-full")) return tell("easel:do", "leave");
      press("halt");
      return;
    }
    if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      ArrowLeft: () => tell("easel:step", -1), ArrowRight: () => tell("easel:step", 1),
      f: () => tell("easel:do", "full"), u: () => tell("easel:do", "reuse"), "?": () => toggleHelp(),
    };
    // On a slider the arrows belong to the slider.
    if (event.target.matches?.("input[type=range], input[type=radio]") && event.key.startsWith("Arrow")) return;
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action) { event.preventDefault(); action(); }
  });
}
