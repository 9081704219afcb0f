// What a person did last, and what the server says of an image's label.

import { ask, tell } from "./millwatch.js";

const TWICE_MS = 300;
const MOST_DONE = 1000;  // what was labelled at once is taken back at once
const PART = 25;  // a second's work for the server
export const me = document.querySelector(".who").textContent;
const kept = `done by ${me}`;
let pressed = { what: "", at: -TWICE_MS };

export const address = (image, what) => `/api/inspections/${image.id}/${what}`;

/** The labels that a person can take back, the last one last. They outlive a filter and a new login. */
export const done = {
  labels: JSON.parse(sessionStorage.getItem(kept) ?? "[]"),
  get last() { return this.labels.at(-1); },
  /** What U takes back: the last one, and those that were given together with it. */
  get together() {
    return this.last?.act ? this.labels.filter((each) => each.act === this.last.act) : this.labels.slice(-1);
  },
  add(...given) { this.keep([...this.labels, ...given]); },
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

/** Which images wait again, why some do not, and why no more are to be asked for: what is still to be taken back. */
export async function takeBack(part) {
  const images = part.map(({ image, seen }) => ({ id: image.id, seen }));
  const came = await ask("/api/labels/undo", "POST", { images }).catch(
    (error) => ({ refused: images.map(({ id }) => ({ id, detail: error.message })) }));
  const still = new Set(), others = new Set();
  let ended = "";
  for (const { id, detail } of came.refused) {
    const label = part.find((each) => each.image.id === id);
    const now = ended ? undefined : await inForce(label.image);
    // Else its answer was lost, or a colleague labelled it anew.
    if (now === undefined || now?.label_id === label.seen) { still.add(label); ended ||= detail; }
    else if (now) others.add(label);
  }
  done.forget(part.filter((each) => !still.has(each)));
  const back = part.filter((each) => !still.has(each) && !others.has(each)).map((each) => each.image);
  return { back, why: came.refused[0]?.detail ?? "", ended };
}

/** Whether a glove hit a key or a button twice: the second time is for a picture that nobody has seen. */
export function isTwice(what) {
  const before = pressed;
  pressed = { what, at: performance.now() };
  const twice = what === before.what && pressed.at - before.at < TWICE_MS;
  if (twice) tell("Pressed twice at once: it counts once.");
  return twice;
}
