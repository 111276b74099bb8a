// The settings dialog. Nothing here travels to the server but codes and signing out.
const at = (id) => element.querySelector(`#${id}`);
const dialog = at("settings"), sayHere = element.querySelector(".settings-said"), soundBox = at("set-sound"), notifyBox = at("set-notify");
const keepHere = (name, isOn) => localStorage.setItem(name, isOn ? "on" : "off");
const tellOthers = (what) => localStorage.setItem("easel_other_tabs", `${what} ${Date.now()}`);
let countdown = 0;
function saySettings(text, isWrong = false) {
  sayHere.textContent = text;
  sayHere.classList.toggle("is-wrong", isWrong);
}
function openSettings() {
  soundBox.checked = localStorage.getItem("easel_sound") === "on";
  notifyBox.checked = localStorage.getItem("easel_notify") === "on" && "Notification" in window && Notification.permission === "granted";
  at("set-stop").checked = localStorage.getItem("easel_stop") !== "drop";
  saySettings("");
  const here = window.easelTold?.tray;
  const own = here ? here.shelf + here.bin : 0;
  if (at("code-brings")) {
    at("code-brings").hidden = !own;
    at("code-brings").querySelector("span").textContent = own === 1 ? "Bring the picture of this device along" : `Bring the ${own} pictures of this device along`;
  }
  dialog.showModal();
}
at("settings-open").addEventListener("click", openSettings);
at("settings-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", hideCode);

soundBox.addEventListener("change", () => {
  keepHere("easel_sound", soundBox.checked);
  // Heard at once: whoever wants a sound wants to know which.
  if (soundBox.checked) window.easelChime?.(true);
});
at("set-stop").addEventListener("change", () => localStorage.setItem("easel_stop", at("set-stop").checked ? "keep" : "drop"));
// Asked for by this click only, never by the page itself.
notifyBox.addEventListener("change", async () => {
  if (!notifyBox.checked) { keepHere("easel_notify", false); return saySettings(""); }
  if (!("Notification" in window)) saySettings(window.isSecureContext ? "This browser has no notifications." : "Browsers show notifications for https addresses only.", true);
  else {
    const answer = Notification.permission === "default" ? await Notification.requestPermission() : Notification.permission;
    if (answer === "granted") { keepHere("easel_notify", true); return saySettings("You will be told while this page is out of sight."); }
    saySettings("The browser does not allow it. Allow notifications for this address in its settings, then try again.", true);
  }
  notifyBox.checked = false;
  keepHere("easel_notify", false);
});

function hideCode() {
  clearInterval(countdown);
  if (!at("code")) return;
  at("code").hidden = true;
  at("code").textContent = at("code-left").textContent = "";
}
at("code-show")?.addEventListener("click", async () => {
  hideCode();
  const found = await window.easelAsk("/device/code", {});
  if (found.error) return saySettings(found.error, true);
  at("code").textContent = found.code;
  at("code").hidden = false;
  at("code-show").textContent = "Show another";
  const until = Date.now() + 1000 * found.seconds;
  const tick = () => {
    const left = Math.max(0, Math.round((until - Date.now()) / 1000));
    at("code-left").textContent = left ? `good once, for ${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}` : "";
    if (!left) { hideCode(); saySettings("The code has ended. Show another one."); }
  };
  tick();
  countdown = setInterval(tick, 1000);
  saySettings("Open this studio on the other device, and enter the code in its settings.");
});
at("code-join")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const box = at("code-brings");
  const found = await window.easelAsk("/device/join", { code: at("code-entered").value, brings: !box.hidden && box.querySelector("input").checked });
  if (found.error) { saySettings(found.error, true); return at("code-entered").focus(); }
  saySettings(found.said);
  tellOthers("reload");
  location.reload();
});
at("sign-out")?.addEventListener("click", async () => {
  await fetch("/logout", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}", redirect: "manual" }).catch(() => null);
  // Words and settings of whoever leaves are not for whoever comes next.
  for (const name of Object.keys(localStorage)) if (name.startsWith("easel_") && name !== "easel_theme") localStorage.removeItem(name);
  tellOthers("leave");
  location.assign("/login");
});
// Other tabs of this browser are the same visitor, or nobody, from now on.
window.addEventListener("storage", (event) => {
  if (event.key !== "easel_other_tabs" || !event.newValue) return;
  if (event.newValue.startsWith("leave")) location.assign("/login");
  else location.reload();
});
