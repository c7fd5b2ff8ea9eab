"use strict";
// Single keys move the focus and follow links; they never decide anything. They can be switched off (WCAG 2.1.4).
const KEYS = "sano-review-keys";

function isTyping(target) {
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

function keysAreOn() {
  return localStorage.getItem(KEYS) !== "off";
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || isTyping(event.target) || !keysAreOn()) return;
  const found = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!found) return;
  event.preventDefault();
  if (found.tagName === "A") found.click();
  else found.focus();
});

const toggle = document.getElementById("keys");
if (toggle) {
  const say = () => {
    toggle.textContent = keysAreOn() ? "Keys on" : "Keys off";
    toggle.setAttribute("aria-pressed", String(keysAreOn()));
  };
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    localStorage.setItem(KEYS, keysAreOn() ? "off" : "on");
    say();
  });
  say();
}

// The code of a one-time link is in the fragment, which is not sent; taken out of the address and the history at once.
const link = document.getElementById("link");
if (link && location.hash.length > 1) {
  link.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  document.querySelector("#by-link button").focus();
}
