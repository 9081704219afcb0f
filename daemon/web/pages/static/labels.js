// What a person did last, and what the server says of an image's label.

import { ask, tell } from "./millwatch.js";

const TWICE_MS = 300;
const MOST_DONE = 1000;  // what was labelled at once is taken back at once
const LOST = new Set([0, 502, 504]);  // by a proxy too
const PART = 25;  // a second's work for the server
export const me = document.querySelector(".who").textContent;
const kept = `done by ${me}`;
let pressed = { what: "", at: -TWICE_MS };

export const address = (image, what) => `/api/inspections/${image.id}/${what}`;

/**
 * The labels that a person can take back, the last one last. They outlive a filter and a new login. Whose answer was
 * lost has `asked`, the class, and no `seen`: whether it was given is looked up when it is to be taken back.
 */
export const done = {
  labels: JSON.parse(sessionStorage.getItem(kept) ?? "[]"),
  get last() { return this.labels.at(-1); },
  /** What U takes back: the last one, and those that were given together with it. */
  get together() {
    return this.last?.act ? this.labels.filter((each) => each.act === this.last.act) : this.labels.slice(-1);
  },
  add(...given) {
    const isKnownNow = (each) => each.asked && given.some(({ image }) => image.id === each.image.id);
    this.keep([...this.labels.filter((each) => !isKnownNow(each)), ...given]);
  },
  forget(given) { this.keep(this.labels.filter((each) => !given.includes(each))); },
  keep(labels) {
    this.labels = labels.slice(-MOST_DONE);
    sessionStorage.setItem(kept, JSON.stringify(this.labels));
  },
};

/**
 * Change images a part at a time: who waits for many sees how far it is. `change` may say why it has to end.
 * Returns why it ended early.
 */
export async function inParts(all, change) {
  for (let at = 0; at < all.length; at += PART) {
    if (at) tell(`${at} of ${all.length} images so far…`);
    const why = await change(all.slice(at, at + PART)).catch((error) => error.message);
    if (why) return why;
  }
  return "";
}

/** The label in force; null for none, undefined where the server cannot say. */
export async function inForce(image) {
  return ask(address(image, "labels")).then((labels) => labels.in_force, () => undefined);
}

/** Whether a label is the one that was asked for, and none that was there before. */
export const isOwn = (now, name, before) => now?.labelled_by === me && now.label === name && now.label_id !== before;

/** Whether a label was given perhaps, or is about to be, though no answer says so and `now` is none. */
export const mayBeGiven = (error, now) => (
  now === undefined ? !(error.status >= 400 && error.status < 500) : now === null && LOST.has(error.status));

/** What `done` keeps of such a label. */
export const perhaps = (image, name, act) => ({ image, asked: name, before: image.seen, act });

/**
 * Label images alike; of each that no answer tells of, or that is refused, the label in force is looked up. Returns
 * the images `done`, those of which it is `unknown`, what was `refused` with its label `now`, and why to end.
 */
export async function giveAlike(name, part) {
  const images = part.map(({ id, seen }) => ({ id, seen }));
  const came = await ask("/api/labels", "POST", { label: name, images }).catch(
    (error) => ({ done: [], refused: images.map(({ id }) => ({ id, detail: error.message })), error }));
  const unknown = [], refused = [];
  let now = null;
  for (const { id, detail } of came.refused) {
    const image = part.find((each) => each.id === id);
    if (now !== undefined) now = await inForce(image);  // else the next is not heard of either
    if (isOwn(now, name, image.seen)) came.done.push({ id, label_id: now.label_id });
    else if (came.error && mayBeGiven(came.error, now)) unknown.push(image);
    else refused.push({ id, detail, now });
  }
  return { ...came, unknown, refused, ended: unknown.length || refused.length ? came.error?.message ?? "" : "" };
}

/** Learn of labels that were given perhaps whether they were. Returns why that cannot be said. */
async function lookUp(part) {
  for (const each of part.filter(({ asked }) => asked)) {
    const now = await inForce(each.image);
    if (now === undefined) return "Millwatch does not say what is labelled; try it again.";
    if (isOwn(now, each.asked, each.before)) each.seen = now.label_id;
    delete each.asked;
  }
  return "";
}

/** Which images wait again, why some do not, and why no more are to be asked for: what is still to be taken back. */
export async function takeBack(part) {
  const unsaid = await lookUp(part);
  if (unsaid) return { back: [], why: unsaid, ended: unsaid };
  const given = part.filter(({ seen }) => seen);
  const images = given.map(({ image, seen }) => ({ id: image.id, seen }));
  const came = await ask("/api/labels/undo", "POST", { images }).catch(
    (error) => ({ refused: images.map(({ id }) => ({ id, detail: error.message })) }));
  const still = new Set(), others = new Set();
  let ended = "";
  for (const { id, detail } of came.refused) {
    const label = given.find((each) => each.image.id === id);
    const now = ended ? undefined : await inForce(label.image);
    // Else its answer was lost, or a colleague labelled it anew.
    if (now === undefined || now?.label_id === label.seen) { still.add(label); ended ||= detail; }
    else if (now) others.add(label);
  }
  done.forget(part.filter((each) => !still.has(each)));
  const back = given.filter((each) => !still.has(each) && !others.has(each)).map((each) => each.image);
  const never = given.length < part.length ? "no label was recorded" : "";
  return { back, why: came.refused[0]?.detail ?? never, ended };
}

/** Whether a glove hit a key or a button twice: the second time is for a picture that nobody has seen. */
export function isTwice(what) {
  const before = pressed;
  pressed = { what, at: performance.now() };
  const twice = what === before.what && pressed.at - before.at < TWICE_MS;
  if (twice) tell("Pressed twice at once: it counts once.");
  return twice;
}
