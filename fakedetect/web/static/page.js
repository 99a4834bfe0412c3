// Of every page: says that scripts run, and shows times in the time zone of the browser.

document.documentElement.classList.add("js");

export function localTimes(root) {
  const shown = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
  for (const one of root.querySelectorAll("time[datetime]")) {
    one.textContent = shown.format(new Date(one.dateTime));
  }
}

// What to tell the reader of an answer that is a problem (RFC 9457).
export function detailOf(text, status) {
  try {
    return JSON.parse(text).detail || `The server answered with status ${status}.`;
  } catch {
    return `The server answered with status ${status}.`;
  }
}

localTimes(document);
