// The home page: collects files that are dropped, pasted, picked or photographed, and sends them with progress.

import { detailOf } from "./page.js";

const form = document.getElementById("upload");
const MIB = 1024 * 1024;
const MOST_THUMBNAILS = 40;

if (form) {
  const byId = (name) => document.getElementById(name);
  const drop = byId("drop"), list = form.querySelector(".chosen"), message = byId("message"), status = byId("status");
  const send = form.querySelector(".send button");
  let chosen = [];
  let sending = null;

  function sizeText(bytes) {
    return bytes < MIB ? `${Math.max(1, Math.round(bytes / 1024))} KiB` : `${(bytes / MIB).toFixed(1)} MiB`;
  }

  function filesText(count) {
    return count === 1 ? "1 file" : `${count} files`;
  }

  // In place of a picture that the browser cannot show: the file can still be judged.
  function tile(file) {
    const shown = document.createElement("span"), ending = /\.(\w{1,5})$/.exec(file.name);
    shown.className = "thumb tile";
    shown.setAttribute("aria-hidden", "true");
    shown.textContent = ending ? ending[1].toUpperCase() : "file";
    return shown;
  }

  function thumbnail(file) {
    const kind = file.type.split("/")[0];
    if ((kind !== "image" && kind !== "video") || chosen.length > MOST_THUMBNAILS) {
      return tile(file);
    }
    const shown = document.createElement(kind === "video" ? "video" : "img");
    shown.className = "thumb";
    if (kind === "video") {
      shown.muted = true;
      shown.preload = "metadata";
      shown.setAttribute("aria-hidden", "true");
      shown.tabIndex = -1;
    } else {
      shown.alt = "";
    }
    shown.addEventListener("error", () => {
      URL.revokeObjectURL(shown.src);
      shown.replaceWith(tile(file));
    });
    shown.src = URL.createObjectURL(file);
    return shown;
  }

  function row(file) {
    const item = document.createElement("li"), name = document.createElement("span");
    const remove = document.createElement("button");
    name.className = "name";
    name.textContent = `${file.name} (${sizeText(file.size)})`;
    remove.type = "button";
    remove.className = "quiet";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    remove.addEventListener("click", () => {
      const next = item.nextElementSibling || item.previousElementSibling;
      chosen = chosen.filter((one) => one !== file);
      item.remove();
      URL.revokeObjectURL(item.querySelector(".thumb").src || "");
      changed();
      (next ? next.querySelector("button") : byId("pick")).focus();
    });
    item.append(thumbnail(file), name, remove);
    return item;
  }

  // Returns why the chosen files cannot be sent, or "".
  function problem() {
    const bytes = chosen.reduce((sum, file) => sum + file.size, 0);
    const mostBytes = Number(form.dataset.maxBytes), mostFiles = Number(form.dataset.maxFiles);
    if (chosen.length > mostFiles) {
      return `${filesText(chosen.length)} are chosen; at most ${mostFiles} can be sent at once.`;
    }
    if (bytes > mostBytes) {
      return `The files have ${sizeText(bytes)} together; at most ${sizeText(mostBytes)} can be sent at once.`;
    }
    return "";
  }

  function changed() {
    byId("chosen").hidden = chosen.length === 0;
    send.textContent = chosen.length ? `Check ${filesText(chosen.length)}` : "Check";
    status.textContent = chosen.length ? `${filesText(chosen.length)} chosen` : "No file chosen";
    message.textContent = problem();
  }

  function add(files) {
    if (sending) {
      return;
    }
    for (const file of files) {
      chosen.push(file);
      list.append(row(file));
    }
    if (files.length) {
      changed();
    }
  }

  for (const input of form.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      add([...input.files]);
      input.value = ""; // so that the same file can be picked again, and is not sent twice
    });
  }
  document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) {
      drop.classList.remove("over");
    }
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    add([...event.dataTransfer.files]);
  });

  function end(text) {
    sending = null;
    byId("sending").hidden = true;
    send.disabled = false;
    message.textContent = text;
    status.textContent = "";
  }

  function start(data) {
    sending = new XMLHttpRequest();
    const bar = byId("sent");
    bar.value = 0;
    byId("sending").hidden = false;
    send.disabled = true;
    message.textContent = "";
    status.textContent = `Uploading ${filesText(chosen.length)}`;
    sending.upload.addEventListener("progress", (event) => {
      bar.value = event.total ? event.loaded / event.total : 0;
    });
    sending.addEventListener("load", () => {
      if (sending.status === 202) {
        window.location.assign(`/jobs/${JSON.parse(sending.responseText).id}`);
      } else if (sending.status === 401) {
        window.location.assign("/login");
      } else {
        end(detailOf(sending.responseText, sending.status));
      }
    });
    sending.addEventListener("error", () => end("The upload was cut off. Check that the server runs, then try again."));
    sending.addEventListener("abort", () => end("The upload was cancelled."));
    sending.open("POST", "/v1/jobs");
    sending.setRequestHeader("Accept", "application/json");
    sending.send(data);
  }

  byId("cancel").addEventListener("click", () => sending && sending.abort());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (sending) {
      return;
    }
    const why = chosen.length ? problem() : "Choose, drop or paste a file first.";
    if (why) {
      message.textContent = why;
      return;
    }
    const data = new FormData();
    for (const field of form.querySelectorAll("select, input[type=checkbox]")) {
      if (field.type !== "checkbox" || field.checked) {
        data.append(field.name, field.value);
      }
    }
    for (const file of chosen) {
      data.append("files", file, file.name);
    }
    start(data);
  });
  // A page that comes from the browser's cache must not look as if it was still uploading.
  window.addEventListener("pageshow", (event) => event.persisted && end(""));
}
