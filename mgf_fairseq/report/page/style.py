"""The style sheet of the page, for light and dark, wide and narrow, screen and paper.

Put into the head of the page by page.py.
"""

CSS = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1d21; --muted: #5c6370;
  --line: #d9dce1; --shade: #f4f5f7; --accent: #0072b2; --better: #0b6b9e; --worse: #b34700;
  --warn: #fff4dc; --warn-line: #c28500; --best: #e3f1fa; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181c; --ink: #e8e6e1; --muted: #a2a8b4; --line: #3a3f48; --shade: #1f2228;
    --accent: #6cbcea; --better: #6cbcea; --worse: #f0a070; --warn: #33290f; --warn-line: #b98a1c;
    --best: #14364a; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 80rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .4rem; padding-top: .6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .3rem; }
p, ul, dl { margin: .4rem 0; max-width: 52rem; }
ul { padding-left: 1.2rem; }
a { color: var(--accent); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .8rem 0; }
.muted, small { color: var(--muted); }
small { font-size: .78rem; line-height: 1.35; }
code { font-size: .88em; overflow-wrap: anywhere; }
.warning { background: var(--warn); border-left: 4px solid var(--warn-line);
  padding: .5rem .9rem; margin: .8rem 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .35rem .55rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; font-weight: 600; }
.scores th[scope=row] { position: sticky; left: 0; background: var(--paper); font-weight: 600;
  min-width: 8.5rem; max-width: 14rem; z-index: 1; }
.scores { font-size: .94rem; } .scores small { font-size: .74rem; }
.scores thead th { border-bottom: 2px solid var(--line); }
.scores td small, .scores th small { display: block; font-weight: 400; white-space: normal; }
.scores td { white-space: nowrap; border-left: 1px solid var(--line); }
.scores td.best { background: var(--best); }
.scores td.best b::after { content: " \\2605"; color: var(--accent); }
.scores tr.band th { background: var(--shade); color: var(--muted); font-weight: 600; }
.better { color: var(--better); } .worse { color: var(--worse); }
figure { margin: .6rem 0; }
img { display: block; max-width: 100%; height: auto; }
.gallery { display: grid; gap: .4rem 1.6rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); align-items: start; }
.gallery .wide { grid-column: 1 / -1; }
details { margin: .5rem 0; border: 1px solid var(--line); border-radius: .4rem;
  padding: .45rem .8rem; }
summary { cursor: pointer; font-weight: 600; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .15rem 1rem; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
.sounds { display: flex; flex-wrap: wrap; gap: .6rem 2rem; }
.sounds figcaption { color: var(--muted); font-size: .9rem; }
audio { max-width: 100%; }
@media (max-width: 40rem) {
  body { padding: 1rem .8rem 3rem; }
  h1 { font-size: 1.4rem; }
  .scores, .scores tbody, .scores tr, .scores td { display: block; }
  .scores { width: 100%; } .scores thead { display: none; }
  .scores th[scope=row] { position: static; display: block; max-width: none; font-size: 1.05rem;
    border-bottom: 0; margin-top: .8rem; padding-left: 0; }
  .scores tr.band th { display: block; }
  .scores td { white-space: normal; border: 0; border-top: 1px solid var(--line);
    padding: .3rem .4rem; }
  .scores td:empty, .scores td.absent { display: none; }
  .scores td[data-label]::before { content: attr(data-label); display: block;
    color: var(--muted); font-size: .85rem; }
  figure.scroll img { min-width: 0 !important; }
  .scroll td { overflow-wrap: anywhere; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .4rem; } }
@media print { details > * { display: block; } }
"""
