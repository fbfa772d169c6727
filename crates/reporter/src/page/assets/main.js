// Puts the page together: details on click, a hint on hover, dark or light, reload while it runs.
function start() {
  drawTable();
  drawSweep();
  drawRuns();
  const dialog = document.getElementById("detail"), tip = document.getElementById("tip");
  const trialAt = event => event.target.closest("[data-trial]")?.dataset.trial;
  document.body.addEventListener("click", event => {
    const trial = trialAt(event);
    if (trial !== undefined) openDetail(Number(trial));
    else if (event.target === dialog) dialog.close();
  });
  document.body.addEventListener("keydown", event => {
    if (event.key === "Enter" && event.target.matches("article[data-trial]")) openDetail(Number(event.target.dataset.trial));
  });
  dialog.addEventListener("close", () => keep({ trial: null }));
  document.body.addEventListener("pointermove", event => {
    const hint = event.target.closest("[data-tip]");
    tip.hidden = !hint;
    if (!hint) return;
    tip.textContent = hint.dataset.tip;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8))}px`;
  });
  const root = document.documentElement, remembered = key => { try { return localStorage.getItem(key); } catch { return null; } };
  if (remembered("theme")) root.dataset.theme = remembered("theme");
  document.getElementById("theme").addEventListener("click", () => {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* a page from a file may not remember */ }
  });
  if (view.trial !== null) openDetail(view.trial);
  const typing = () => document.activeElement?.matches("input, select");
  if (data.reload) setInterval(() => { if (!document.hidden && !typing()) location.reload(); }, 1000 * data.reload);
}
start();
