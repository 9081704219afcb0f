// The picture that is looked at, or why it is not to be seen; and the small ones.
import { address } from "./labels.js";
import { ask } from "./millwatch.js";

const AGAIN_MS = 5000;
const picture = document.getElementById("picture");
const missing = document.getElementById("missing");
const heat = document.getElementById("heat");
let image = null;
let there = 0;

const isHot = () => heat.getAttribute("aria-pressed") === "true";
const large = (one) => address(one, isHot() ? "heatmap" : "picture");

/** Whether it can be seen: until then a browser goes on showing the picture before it. */
export const isThere = (one) => there === one.id;

/** Show the picture of an image; of null, wait for none any more. */
export function showPicture(one) {
  image = one;
  if (!one) return;
  picture.alt = `Image ${one.id} of camera ${one.camera}`;
  tellNoPicture(one.missing && (one.lost ?? "The file is missing from the review folder."));
  if (!one.missing) picture.src = large(one);
}

export function toggleHeat() {
  heat.setAttribute("aria-pressed", String(!isHot()));
  showPicture(image);
}

/** Have a browser get a picture before it is wanted. */
export function fetchAhead(one) {
  new Image().src = large(one);
}

export function thumbnail(one, text) {
  const small = document.createElement("img");
  small.src = address(one, "thumbnail");
  small.alt = text;
  small.addEventListener("error", () => { small.alt = "no picture"; });
  return small;
}

/** What is to be read in place of the picture; nothing where it is shown. */
function tellNoPicture(why) {
  picture.hidden = Boolean(why);
  missing.hidden = !why;
  missing.textContent = why || "";
}

picture.addEventListener("load", () => {
  there = Number(picture.currentSrc.match(/inspections\/(\d+)\//)[1]);
});

picture.addEventListener("error", async () => {
  const one = image;
  if (!one || one.missing) return;
  const error = await ask(picture.getAttribute("src")).then(() => null, (refusal) => refusal);
  if (one !== image) return;
  if (error === null || error.status === 404) {
    one.missing = true;
    one.refused = error !== null;
    one.lost = error ? `Not to be seen: ${error.message}.` : "This browser cannot show the picture.";
    showPicture(one);
  } else {
    tellNoPicture(error.message);
    setTimeout(() => { if (one === image) showPicture(one); }, AGAIN_MS);
  }
});
