"""This is where the page's style and its only script are written."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60686f; --paper: #fff; --box: #f3f5f7; --line: #d9dee3;
  --good: 59,130,196; --bad: 217,119,6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa3ab; --paper: #14171a; --box: #1f2428;
  --line: #353c42; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .4rem 0; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .4rem; padding-top: .8rem; border-top: 1px solid var(--line); }
p { margin: .4rem 0; max-width: 48rem; }
small, .soft, figcaption { color: var(--soft); font-size: .875rem; }
code { font: .8rem ui-monospace, monospace; color: var(--soft); }
.verdict { background: var(--box); border-left: 5px solid rgb(var(--good)); border-radius: 6px; padding: .8rem 1rem;
  margin: 1rem 0; font-size: 1.1rem; max-width: none; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem 2.5rem;
  align-items: start; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0; }
dt { color: var(--soft); }
dd { margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
thead th { color: var(--soft); font-size: .875rem; }
tbody th, thead th:first-child, td.text { text-align: left; font-weight: 500; }
tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 5.5rem; }
tbody th small { display: block; font-weight: 400; white-space: normal; }
.sortable th button { all: unset; cursor: pointer; }
.sortable th button:focus-visible { outline: 2px solid rgb(var(--good)); }
.sortable th[aria-sort=ascending] button::after { content: " \\25B4"; }
.sortable th[aria-sort=descending] button::after { content: " \\25BE"; }
td.bar { background: linear-gradient(to right, rgba(var(--good), .28) calc(var(--share) * 100%), transparent 0);
  min-width: 4.5rem; }
.confusion td, .confusion th { padding: .25rem .45rem; border: 1px solid var(--line); text-align: center;
  vertical-align: middle; }
.confusion tbody th { text-align: left; min-width: 7rem; }
@media (max-width: 30rem) { body { padding: .8rem; } th, td { padding: .25rem .35rem; }
  .sortable { font-size: .875rem; } td.bar { min-width: 3.6rem; } }
.confusion thead td { color: var(--soft); font-size: .8rem; vertical-align: bottom; }
.confusion thead th { vertical-align: bottom; }
.confusion thead span { writing-mode: vertical-rl; transform: rotate(180deg); }
.confusion .right { background: rgba(var(--good), calc(.1 + .45 * var(--share))); }
.confusion .wrong { background: rgba(var(--bad), calc(.2 + .6 * var(--share))); font-weight: 600; }
.pictures { list-style: none; margin: .8rem 0; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.pictures li { display: flex; gap: .8rem; align-items: flex-start; }
.pictures li > div:last-child { display: flex; flex-direction: column; min-width: 0; line-height: 1.35; }
.pictures img, .nothing { flex: none; width: 96px; height: 96px; object-fit: contain; background: var(--box);
  border-radius: 4px; }
.nothing { display: grid; place-items: center; text-align: center; color: var(--soft); font-size: .75rem; }
figure { margin: .6rem 0; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; }
details { margin: .3rem 0; }
summary { cursor: pointer; color: var(--soft); font-size: .875rem; }
"""

SCRIPT = """
document.querySelectorAll("table.sortable").forEach(function (table) {
  var heads = Array.from(table.tHead.rows[0].cells), body = table.tBodies[0];
  heads.forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      Array.from(body.rows).sort(function (a, b) {
        var x = a.cells[column].dataset.value, y = b.cells[column].dataset.value;
        return (down ? -1 : 1) * (column ? x - y : x.localeCompare(y));
      }).forEach(function (row) { body.append(row); });
    });
  });
});
"""
