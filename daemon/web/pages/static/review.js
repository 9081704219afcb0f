// The review page: one image at a time or many at once, by keys alone or by touch.
import {
  address, done, giveAlike, inForce, inParts, isOwn, isTwice, mayBeGiven, perhaps, takeBack,
} from "./labels.js";
import { ask, isTyping, key, keyOf, tell } from "./millwatch.js";
import { fetchAhead, isThere, showPicture, thumbnail, toggleHeat } from "./picture.js";

const PAGE = 24;
const MANY = 10000;
const AGAIN_MS = 5000;
const MOST_SKIPPED = 240;
const MOST_AT_ONCE = 500;  // the server takes no more
const CLASS_KEYS = [..."1234567890bcdefjklmopqrtvwxyz"];  // without those that do something else
const left = history.state?.image;
const byId = (id) => document.getElementById(id);
const filters = new URLSearchParams(new FormData(byId("filters")));
for (const [key, value] of [...filters]) { if (!value) filters.delete(key); }

const state = {
  images: [], at: 0, next: null, classes: [], selected: new Set(), away: "", asked: null,
};
let work = Promise.resolve();

/** One thing after the other: the disk may be slow. */
function inTurn(deed) {
  work = work.then(deed).catch((error) => tell(error.message, true));
  return work;
}

const inWords = (name) => name.replaceAll("_", " ");
const asRead = (name) => name.normalize("NFKC").toLowerCase().split(/[-_\s]+/).join(" ");
const current = () => state.images[state.at];
const queue = (more) => ask(`/api/queue?${new URLSearchParams([...filters, ...Object.entries(more)])}`);
// Counted no further than that; and then not counted down either.
const showWaiting = (many) => { byId("waiting").textContent = many < MANY ? many : `${MANY.toLocaleString()}+`; };

async function load() {
  if (state.classes.length === 0) await loadClasses();
  const found = await queue({ limit: PAGE, ...(state.next && { after: state.next }) });
  const known = new Set(state.images.map((image) => image.id));
  state.images.push(...found.images.filter((image) => !known.has(image.id)));
  state.next = found.next;
  showWaiting(found.waiting);
}

/** What comes while somebody looks at a picture is counted too; where nothing answers, that is told. */
async function recount() {
  const before = work;
  const found = await queue({ limit: 1 }).catch((error) => tell(error.message, true));
  if (found && work === before) showWaiting(found.waiting);
}

/** What is there is gone on with, whatever becomes of the rest. */
async function tryToLoad() {
  const before = state.away;
  state.away = await load().then(() => "", (error) => error.message);
  if (state.away && state.away !== before) tell(state.away, true);
}

async function loadClasses() {
  state.classes = (await ask("/api/classes")).classes;
  for (const group of document.querySelectorAll("[data-labels]")) {
    group.replaceChildren(...state.classes.map((name, number) => labelButton(name, number)), newClassButton());
  }
}

function labelButton(name, number) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.label = name;
  if (number in CLASS_KEYS) button.append(key(CLASS_KEYS[number].toUpperCase()));
  button.append(inWords(name));
  button.addEventListener("click", () => label(name));
  return button;
}

function newClassButton() {
  const button = document.createElement("button");
  button.type = "button";
  button.append(key("N"), "new class…");
  button.addEventListener("click", askForClass);
  return button;
}

// --- one at a time ------------------------------------------------------------------------------

function show() {
  const many = !byId("many").hidden;
  const image = current();
  const skipped = state.images.length > 0;
  byId("empty").hidden = skipped && (many || Boolean(image));
  const nothing = filters.toString() ? "Nothing to check here of what is chosen above." : "Nothing to check here.";
  byId("empty-text").textContent = state.away || (skipped
    ? "You have skipped what is left to check here." : `${nothing} New images appear by themselves.`);
  byId("empty-back").hidden = !skipped;
  for (const button of document.querySelectorAll("[data-undo]")) button.disabled = !done.last;
  byId("one").hidden = many || !image;
  if (many) { showGrid(); return; }
  showPicture(image ?? null);
  history.replaceState({ image: image?.id }, "");
  if (!image) return;
  const verdict = byId("verdict");
  verdict.className = `verdict ${image.verdict}`;
  verdict.textContent = image.predicted_class ? `${image.verdict}: ${inWords(image.predicted_class)}` : image.verdict;
  byId("why").textContent = image.why;
  byId("conflict").hidden = !image.conflict;
  byId("conflict").textContent = image.conflict ?? "";
  byId("fact-camera").textContent = image.camera;
  byId("fact-taken").textContent = image.captured_local;
  byId("fact-file").textContent = image.filename;
  byId("history").href = `/images/${image.id}`;
  for (const button of document.querySelectorAll("#one [data-label]")) {
    button.classList.toggle("guess", button.dataset.label === image.predicted_class);
  }
  byId("back").disabled = state.at === 0;
  showStrip();
}

function showStrip() {
  const next = state.images.slice(state.at + 1, state.at + 9);
  byId("strip").replaceChildren(...next.map((image) => {
    const item = document.createElement("li");
    item.append(thumbnail(image, ""));
    return item;
  }));
  // Large pictures of the next two are in the browser's cache by the time they are wanted.
  next.slice(0, 2).forEach(fetchAhead);
}

async function move(step) {
  state.at = Math.max(0, Math.min(state.images.length, state.at + step));
  const wanted = byId("many").hidden ? 9 : PAGE;  // what is left in the grid must not keep the next out of it
  if (state.at + wanted > state.images.length && state.next) await tryToLoad();
  await passOver();
  show();
}

/** What a colleague labelled meanwhile need not be looked at; what this person was told of is. */
async function passOver() {
  for (let image = current(); image && !image.conflict; image = current()) {
    const now = await inForce(image);
    if (!now || now.label_id === image.seen) return;
    take([image.id]);
    tell(`Image ${image.id}: ${now.labelled_by} labelled it ${inWords(now.label)}`);
  }
}

/** Label the image that is shown, or those selected: never what comes into its place meanwhile. */
function label(name) {
  const image = current();
  if (!byId("many").hidden) {
    const images = state.images.filter((each) => state.selected.has(each.id));
    inTurn(() => giveMany(name, images));
  } else if (image && !image.missing && !isThere(image)) {
    tell("The picture is not there yet.");
  } else if (image?.refused) {  // what was altered would be labelled, seen by nobody
    tell(image.lost, true);
  } else if (!isTwice(name)) {
    const seen = image?.seen;  // a second press before the answer does not know what it says
    inTurn(() => give(name, image, seen));
  }
}

async function give(name, image, seen) {
  if (!state.images.includes(image)) return;
  try {
    const given = await ask(address(image, "label"), "POST", { label: name, seen });
    wasGiven(name, image, given.label_id);
  } catch (error) {
    await learnOf(image, error, name);
  }
  await move(0);
}

function wasGiven(name, image, label_id) {
  done.add({ image, seen: label_id });
  take([image.id]);
  tell(`Image ${image.id}: ${inWords(name)}`);
}

/** Somebody was quicker, or the answer was lost: let the person decide with that known. */
async function learnOf(image, error, name) {
  const now = await inForce(image);
  if (isOwn(now, name, image.seen)) { wasGiven(name, image, now.label_id); return; }
  if (mayBeGiven(error, now)) done.add(perhaps(image, name));
  if (now !== undefined) image.seen = now?.label_id ?? 0;
  image.conflict = error.message;
  tell(error.message, true);
}

async function undo() {
  const together = done.together;
  if (together.length === 0) { tell("There is nothing to undo."); return; }
  const back = [];
  let why = "";
  const ended = await inParts(together, async (part) => {
    const came = await takeBack(part);
    back.push(...came.back);
    why ||= came.why;
    putBack(back);
    return came.ended;
  });
  await move(0);
  const not = together.length - back.length;
  const what = back.length > 1 ? `${back.length} images are` : `Image ${back[0]?.id} is`;
  const told = `${what} to be checked again${not ? `; ${not} not: ${ended || why}` : ""}`;
  tell(back.length ? told : ended || why, not > 0);
}

/** Into the list, where the person is. */
function putBack(images) {
  const ids = new Set(images.map((image) => image.id));
  const before = state.images.length;
  state.images = state.images.filter((image) => !ids.has(image.id));
  count(state.images.length + images.length - before);
  for (const image of images) Object.assign(image, { seen: 0, conflict: null });
  state.images.splice(state.at, 0, ...images);
}

/** Take labelled images out of the list. */
function take(ids) {
  state.images = state.images.filter((image) => !ids.includes(image.id));
  count(-ids.length);
}

function count(step) {
  const shown = byId("waiting");
  if (!shown.textContent.endsWith("+")) shown.textContent = Math.max(0, Number(shown.textContent) + step);
}

// --- many at once -------------------------------------------------------------------------------

function showGrid() {
  const ids = new Set(state.images.map((image) => image.id));
  state.selected = new Set([...state.selected].filter((id) => ids.has(id)));
  const held = [...byId("grid").children].findIndex((item) => item.contains(document.activeElement));
  byId("grid").replaceChildren(...state.images.map((image) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.id = image.id;
    const text = document.createElement("span");
    text.textContent = image.predicted_class ? inWords(image.predicted_class) : image.verdict;
    button.append(thumbnail(image, `Image ${image.id}`), text);
    button.addEventListener("click", () => { toggle(image.id); });
    item.append(button);
    return item;
  }));
  markSelected();
  const buttons = byId("grid").querySelectorAll("button");
  if (held >= 0) buttons[Math.min(held, buttons.length - 1)]?.focus();
}

function markSelected() {
  byId("selected").textContent = state.selected.size;
  for (const button of byId("grid").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(state.selected.has(Number(button.dataset.id))));
  }
}

function toggle(id) {
  if (!state.selected.delete(id)) state.selected.add(id);
  markSelected();
}

function selectAll() {
  const most = state.images.slice(0, MOST_AT_ONCE);
  const all = state.selected.size < most.length;
  state.selected = new Set(all ? most.map((image) => image.id) : []);
  markSelected();
}

async function giveMany(name, asked) {
  const images = asked.filter((image) => state.images.includes(image));
  if (images.length === 0) { tell("Nothing is selected."); return; }
  const image = (id) => images.find((each) => each.id === id);
  const act = Date.now();  // all of them are taken back together
  const refused = [], unknown = [];
  let many = 0;
  const ended = await inParts(images, async (part) => {
    const came = await giveAlike(name, part);
    done.add(...came.done.map(({ id, label_id: seen }) => ({ image: image(id), seen, act })),
      ...came.unknown.map((each) => perhaps(each, name, act)));
    take([...came.done, ...came.refused.filter(({ now }) => now)].map(({ id }) => id));  // a colleague was quicker
    many += came.done.length;
    refused.push(...came.refused);
    unknown.push(...came.unknown);
    return came.ended;
  });
  state.at = 0;
  await move(0);
  const told = [
    many || !ended ? `${many} image${many === 1 ? "" : "s"}: ${inWords(name)}` : "",
    refused.length ? `${refused.length} not: ${refused[0].detail}` : "",
    unknown.length ? `of ${unknown.length} it is not known, label them again or undo` : "",
    ended !== refused[0]?.detail ? ended : "",
  ];
  tell(told.filter(Boolean).join("; "), refused.length > 0 || Boolean(ended));
}

function focusNeighbour(step) {
  const buttons = [...byId("grid").querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  buttons[Math.max(0, Math.min(buttons.length - 1, at + step))]?.focus();
}

function columns() {
  return getComputedStyle(byId("grid")).gridTemplateColumns.split(" ").length;
}

function swap() {
  byId("many").hidden = !byId("many").hidden;
  show();
  if (!byId("many").hidden) byId("grid").querySelector("button")?.focus();
}

// --- keys ---------------------------------------------------------------------------------------

function askForClass() {
  byId("class-name").value = "";
  byId("new-class").returnValue = "";
  state.asked = current();
  byId("new-class").showModal();
}

byId("new-class").addEventListener("close", () => {
  const name = byId("class-name").value.trim();
  if (byId("new-class").returnValue !== "use" || !name) return;
  if (byId("many").hidden && current() !== state.asked) {
    tell("The picture has changed meanwhile; nothing is labelled.", true);
    return;
  }
  label(state.classes.find((each) => asRead(each) === asRead(name)) ?? name);
  inTurn(async () => { await loadClasses(); show(); });
});

const keys = {
  h: toggleHeat,
  s: () => { if (!isTwice("skip")) inTurn(() => move(1)); },
  u: () => { if (!isTwice("undo")) inTurn(undo); },
  g: swap,
  n: askForClass,
  i: () => byId("history").click(),
  a: () => { if (!byId("many").hidden) selectAll(); },
};

document.addEventListener("keydown", (event) => {
  if (isTyping(event)) return;
  const many = !byId("many").hidden;
  const arrows = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() };
  // A key that is held down would label picture after picture.
  if (event.repeat && !(event.key in arrows)) return;
  const mayLabel = byId("undo") !== null;
  const pressed = keyOf(event);
  const name = state.classes[CLASS_KEYS.indexOf(pressed)];
  if (name && mayLabel) {
    label(name);
  } else if (event.key in arrows && many) {
    focusNeighbour(arrows[event.key]);
  } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
    inTurn(() => move(arrows[event.key]));
  } else if (pressed in keys && (mayLabel || !"un".includes(pressed))) {
    keys[pressed]();
  } else {
    return;
  }
  event.preventDefault();
});

byId("heat").addEventListener("click", toggleHeat);
byId("skip").addEventListener("click", keys.s);
for (const id of ["back", "empty-back"]) {
  byId(id).addEventListener("click", () => { if (!isTwice("back")) inTurn(() => move(-1)); });
}
for (const button of document.querySelectorAll("[data-undo]")) button.addEventListener("click", keys.u);
byId("to-many").addEventListener("click", swap);
byId("to-one").addEventListener("click", swap);
byId("all").addEventListener("click", selectAll);

/** Where nothing is left to check, something may have come: it may stand behind all that was skipped. */
async function lookAgain() {
  if (current()) return;
  state.next = null;
  do await tryToLoad(); while (!state.away && state.next && !current());
  show();
}

/** Who comes back from all about an image, or loads the page anew, does not skip again what was skipped before it. */
async function comeBack() {
  await lookAgain();
  const place = () => state.images.findIndex((image) => image.id === left);
  while (left && place() < 0 && state.next && !state.away && state.images.length < MOST_SKIPPED) await tryToLoad();
  state.at = Math.max(0, place());
  show();
}
inTurn(comeBack);
setInterval(() => { if (!document.hidden && !current()) inTurn(lookAgain); }, AGAIN_MS);
setInterval(() => { if (!document.hidden && current()) work.then(recount); }, 6 * AGAIN_MS);
