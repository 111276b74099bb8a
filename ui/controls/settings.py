"""The settings of this browser: what tells that the work is done, another device, signing out. Kept by the browser itself."""

from __future__ import annotations

_DEVICES = """
  <h3>Another device</h3>
  <p class="settings-note">Your pictures and jobs on your phone or another computer, without an account.</p>
  <div class="code-show"><button type="button" id="code-show">Show a code</button>
    <output id="code" aria-label="Code for the other device" hidden></output><span id="code-left" class="settings-note"></span></div>
  <form id="code-join"><label for="code-entered">Code from the other device</label>
    <div class="code-row"><input id="code-entered" name="code" autocomplete="one-time-code" autocapitalize="characters" spellcheck="false" maxlength="24" required>
    <button>Enter</button></div>
    <label class="settings-check" id="code-brings" hidden><input type="checkbox" checked> <span></span></label></form>
"""
_PEOPLE = """
  <h3>You are signed in</h3>
  <p class="settings-note">Sign in with the same name on another device: your pictures are there.</p>
  <button type="button" id="sign-out">Sign out</button>
"""


def settings_dialog(*, has_people: bool) -> str:
    """A closed dialog. Where people sign in, their name is what makes two devices one visitor."""
    return f"""
    <dialog id="settings" aria-labelledby="settings-title"><h2 id="settings-title">Settings</h2>
      <h3>When the work is done</h3>
      <label class="settings-check"><input type="checkbox" id="set-sound"> <span>A short sound</span></label>
      <label class="settings-check"><input type="checkbox" id="set-notify"> <span>A notification, while this page is out of sight</span></label>
      <h3>When I stop a picture</h3>
      <label class="settings-check"><input type="checkbox" id="set-stop"> <span>Keep it as far as it had come</span></label>
      {_PEOPLE if has_people else _DEVICES}
      <p class="settings-said" role="status" aria-live="polite"></p>
      <div class="settings-foot"><button type="button" data-theme-toggle>Light or dark</button><button type="button" id="settings-close">Close</button></div></dialog>
    """
