// SPDX-License-Identifier: MIT
"use strict";
const layers = document.querySelectorAll("details.layer");
for (const button of document.querySelectorAll("button[data-open]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    for (const layer of layers) layer.open = button.dataset.open === "yes";
  });
}
const show = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") {
    target.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", show);
show();
