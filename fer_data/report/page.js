"use strict";
// What the page does beyond showing: filters, one tab stop for each sheet, the large view. Without it everything is shown.

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
const form = one("#filters");
const faces = all(".face");
const plain = new Intl.NumberFormat("en");

// --- filters

function applyFilters() {
  const wanted = {
    expression: form.elements.expression.value,
    fold: form.elements.fold.value,
    subject: form.elements.subject.value.trim().toLowerCase(),
    flagged: form.elements.flagged.checked,
  };
  let count = 0;
  for (const face of faces) {
    const fits =
      (!wanted.expression || face.dataset.expression === wanted.expression) &&
      (!wanted.fold || face.dataset.fold === wanted.fold) &&
      (!wanted.subject || face.dataset.subject.toLowerCase().includes(wanted.subject)) &&
      (!wanted.flagged || face.classList.contains("flagged"));
    face.hidden = !fits;
    count += fits;
  }
  for (const sheet of all(".sheet")) {
    const shown = all(".face:not([hidden])", sheet).length;
    sheet.hidden = shown === 0;
    one(".shown", sheet).textContent = plain.format(shown);
  }
  one("#shown").textContent = `${plain.format(count)} ${count === 1 ? "face" : "faces"}`;
  one("#nothing").hidden = count > 0;
  all("[data-roving]").forEach(settleTabStop);
}

function showPoints() {
  one("#faces").classList.toggle("no-points", form.elements.points?.checked === false);
}

function setFilters(expression, fold) {
  form.elements.expression.value = expression;
  form.elements.fold.value = fold;
  form.elements.subject.value = "";
  form.elements.flagged.checked = false;
  applyFilters();
}

form.hidden = false;
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => { applyFilters(); showPoints(); });
form.addEventListener("reset", (event) => { event.preventDefault(); setFilters("", ""); });
one("#show-template")?.addEventListener("change", (event) => one("#means").classList.toggle("with-template", event.target.checked));

// A number of the balance table leads to the faces behind it.
for (const link of all(".heat a")) link.addEventListener("click", () => setFilters(link.dataset.expression, link.dataset.fold));

// --- one tab stop for each group; arrows, Home and End move within it

const stops = (group) => all("a, button", group).filter((stop) => !stop.closest("[hidden]"));

function settleTabStop(group) {
  const open = stops(group);
  const current = open.find((stop) => stop.tabIndex === 0) || open[0];
  for (const stop of all("a, button", group)) stop.tabIndex = stop === current ? 0 : -1;
}

function neighbour(open, current, key) {
  const place = open.indexOf(current);
  if (key === "ArrowLeft") return open[place - 1];
  if (key === "ArrowRight") return open[place + 1];
  if (key === "Home") return open[0];
  if (key === "End") return open[open.length - 1];
  const here = current.getBoundingClientRect();
  const beside = (stop) => Math.abs(stop.getBoundingClientRect().left - here.left) < here.width / 2;
  const above = key === "ArrowUp";
  const line = above ? open.slice(0, place).reverse() : open.slice(place + 1);
  return line.find((stop) => beside(stop) && Math.abs(stop.getBoundingClientRect().top - here.top) > 1);
}

const keys = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
for (const group of all("[data-roving]")) {
  group.addEventListener("keydown", (event) => {
    if (!keys.includes(event.key)) return;
    const next = neighbour(stops(group), event.target, event.key);
    event.preventDefault();
    if (next) moveTo(next);
  });
}

function moveTo(stop) {
  const group = stop.closest("[data-roving]");
  for (const other of all("a, button", group)) other.tabIndex = other === stop ? 0 : -1;
  stop.focus();
}

// --- the large view

const viewer = one("#viewer");
let viewed = null;

function view(face) {
  viewed = face;
  one("#viewer-head").textContent = face.dataset.id;
  one(".stage", viewer).replaceChildren(...all("img, svg", face).map((part) => part.cloneNode(true)));
  for (const value of all("dd", viewer)) {
    value.textContent = face.dataset[value.dataset.key];
    value.parentElement.hidden = value.textContent === "";
  }
  if (!viewer.open) viewer.showModal();
}

function step(by) {
  const open = faces.filter((face) => !face.hidden);
  view(open[(open.indexOf(viewed) + by + open.length) % open.length]);
}

for (const face of faces) one("button", face).addEventListener("click", () => view(face));
for (const button of all("[data-step]", viewer)) button.addEventListener("click", () => step(Number(button.dataset.step)));
one("[data-close]", viewer).addEventListener("click", () => viewer.close());
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
viewer.addEventListener("close", () => moveTo(one("button", viewed)));
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});

applyFilters();
