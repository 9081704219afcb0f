// What a person did last, and what the server says of an image's label.

import { ask, tell } from "./millwatch.js";

const TWICE_MS = 300;
const MOST_DONE = 1000;  // what was labelled at once is taken back at once
export const me = document.querySelector(".who").textContent;
const kept = `done by ${me}`;
let pressed = { what: "", at: -TWICE_MS };

export const address = (image, what) => `/api/inspections/${image.id}/${what}`;

/** The labels that a person can take back, the last one last. They outlive a filter and a new login. */
export const done = {
  labels: JSON.parse(sessionStorage.getItem(kept) ?? "[]"),
  get last() { return this.labels.at(-1); },
  add(...given) { this.keep([...this.labels, ...given]); },
  forget(label) { this.keep(this.labels.filter((each) => each !== label)); },
  keep(labels) {
    this.labels = labels.slice(-MOST_DONE);
    sessionStorage.setItem(kept, JSON.stringify(this.labels));
  },
};

/** The label in force; null for none, undefined where the server cannot say. */
export async function inForce(image) {
  return ask(address(image, "labels")).then((labels) => labels.in_force, () => undefined);
}

/** Whether a glove hit a key or a button twice: the second time is for a picture that nobody has seen. */
export function isTwice(what) {
  const before = pressed;
  pressed = { what, at: performance.now() };
  const twice = what === before.what && pressed.at - before.at < TWICE_MS;
  if (twice) tell("Pressed twice at once: it counts once.");
  return twice;
}
