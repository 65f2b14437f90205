"use strict";
(() => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const at = (id) => document.getElementById(id);
  const CODE = /^[A-Za-z0-9_-]{1,64}$/;
  const RETRY_MILLISECONDS = [0, 1500, 5000];
  let state = null; // the record of this participant, as it is kept
  let since = null; // when the pair came into sight, null while it is out of sight

  // SHA-256 (FIPS 180-4) of ASCII: pages from files and plain http may have no crypto.subtle.
  function sha256(text) {
    const primes = [], constants = [], initial = [];
    for (let n = 2; primes.length < 64; n++) {
      if (primes.every((prime) => n % prime)) primes.push(n);
    }
    const fraction = (x) => Math.floor((x - Math.floor(x)) * 2 ** 32) | 0;
    for (const prime of primes) constants.push(fraction(Math.cbrt(prime)));
    for (const prime of primes.slice(0, 8)) initial.push(fraction(Math.sqrt(prime)));
    const length = text.length, words = new Int32Array((((length + 8) >> 6) + 1) * 16);
    for (let n = 0; n < length; n++) words[n >> 2] |= text.charCodeAt(n) << (24 - 8 * (n % 4));
    words[length >> 2] |= 0x80 << (24 - 8 * (length % 4));
    words[words.length - 1] = length * 8;
    const turn = (x, by) => (x >>> by) | (x << (32 - by));
    const hash = Int32Array.from(initial), w = new Int32Array(64);
    for (let block = 0; block < words.length; block += 16) {
      w.set(words.subarray(block, block + 16));
      for (let n = 16; n < 64; n++) {
        const low = turn(w[n - 15], 7) ^ turn(w[n - 15], 18) ^ (w[n - 15] >>> 3);
        const high = turn(w[n - 2], 17) ^ turn(w[n - 2], 19) ^ (w[n - 2] >>> 10);
        w[n] = w[n - 16] + low + w[n - 7] + high;
      }
      let [a, b, c, d, e, f, g, h] = hash;
      for (let n = 0; n < 64; n++) {
        const one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) +
          constants[n] + w[n];
        const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
      }
      [a, b, c, d, e, f, g, h].forEach((value, n) => { hash[n] += value; });
    }
    return Array.from(hash, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  }

  // What is kept in this browser, by study and code.
  const keyOf = (code) => `blind-study:${study.study}:${code}`;
  function kept(code) {
    try {
      const found = JSON.parse(localStorage.getItem(keyOf(code)));
      return found && found.study === study.study && Array.isArray(found.trials) ? found : null;
    } catch { return null; }
  }
  function keep() {
    try { localStorage.setItem(keyOf(state.participant), JSON.stringify(state)); }
    catch { at("storage-fault").hidden = false; }
  }

  const placeOf = (code) => study.any_code
    ? parseInt(sha256(`${study.study}:${code}`).slice(0, 8), 16) % study.places.length
    : study.codes.indexOf(code);
  const trials = () => study.places[state.place];
  const now = () => new Date().toISOString();
  const parameter = (name) => {
    const found = new URLSearchParams(location.search).get(name);
    return found !== null && CODE.test(found) ? found : null;
  };

  function show(id) {
    for (const main of document.querySelectorAll("main")) main.hidden = main.id !== id;
    scrollTo(0, 0);
    at(id).querySelector("h1").focus({ preventScroll: true });
  }
  function paragraphs(id, texts) {
    at(id).replaceChildren(...texts.map((text) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = text;
      return paragraph;
    }));
  }

  // Time counts while the pair is in sight alone.
  function stopClock() {
    if (since !== null) state.spent += Math.round(performance.now() - since);
    since = null;
  }
  function startClock() {
    if (!at("judge").hidden && document.visibilityState === "visible") since = performance.now();
  }
  function pauseClock() {
    if (state === null || since === null) return;
    stopClock();
    keep();
  }

  function enter(event) {
    event.preventDefault();
    let code = at("code").value.trim();
    if (!study.any_code) code = code.toUpperCase();
    const fault = (text, id) => { at("enter-fault").textContent = text; at(id).focus(); };
    if (!CODE.test(code)) {
      return fault("Enter your participant code: letters, digits, - and _.", "code");
    }
    const place = placeOf(code);
    if (place < 0) return fault("This code is not one of this study. Please check it.", "code");
    if (!at("agree").checked) return fault("To take part, tick the box above.", "agree");
    at("enter-fault").textContent = "";
    const parameters = {};
    for (const name of ["STUDY_ID", "SESSION_ID"]) {
      if (parameter(name) !== null) parameters[name] = parameter(name);
    }
    state = kept(code) || {
      study: study.study, participant: code, place, parameters, agreed: now(), begun: now(),
      ended: null, trials: [], spent: 0,
    };
    keep();
    if (state.ended !== null) return finish();
    const done = state.trials.length;
    at("resumed").textContent = done
      ? `You have answered ${done} of ${trials().length} pairs; it goes on with the next.` : "";
    at("go").textContent = done ? "Show the next pair" : "Show the first pair";
    show("explain");
  }

  function judge() {
    const number = state.trials.length, all = trials();
    if (number >= all.length) return end();
    const [item, left, right] = all[number];
    at("place").textContent = `Pair ${number + 1} of ${all.length}`;
    at("progress").max = all.length;
    at("progress").value = number;
    at("prompt").textContent = study.items[item].prompt;
    at("left").textContent = study.items[item].texts[left];
    at("right").textContent = study.items[item].texts[right];
    at("choose").reset();
    at("next").disabled = true;
    at("next").textContent = number + 1 < all.length ? "Next" : "Finish";
    sure(false);
    show("judge");
    at("said").textContent = `Pair ${number + 1} of ${all.length}`;
    stopClock();
    startClock();
  }
  const chosen = () => document.querySelector("input[name=choice]:checked");
  function choose(value) {
    for (const radio of at("choose").elements.choice) {
      if (radio.value === value) radio.checked = true;
    }
    at("next").disabled = false;
  }
  function answer(event) {
    event.preventDefault();
    if (!chosen()) return;
    stopClock();
    const [item, left, right] = trials()[state.trials.length], { id, codes } = study.items[item];
    state.trials.push({
      item: id, left: codes[left], right: codes[right], choice: chosen().value,
      milliseconds: state.spent, at: now(),
    });
    state.spent = 0;
    keep();
    judge();
  }
  function sure(asked) {
    at("stop-sure").hidden = !asked;
    at("stop").hidden = asked;
    if (asked) at("stop-no").focus();
  }
  function end() {
    stopClock();
    state.ended = now();
    keep();
    finish();
  }

  // The file: the checksum is of the JSON of all that stands before it.
  function fileOf() {
    const record = {
      format: study.answers_format, study: state.study, participant: state.participant,
      place: state.place, agreed: state.agreed, begun: state.begun, ended: state.ended,
      planned: trials().length, complete: state.trials.length === trials().length,
      parameters: state.parameters, trials: state.trials,
    };
    record.sha256 = sha256(JSON.stringify(record));
    return record;
  }
  function finish() {
    const record = fileOf(), text = JSON.stringify(record, null, 1) + "\n";
    at("thanks").textContent = record.complete
      ? "Thank you, that was all" : "Thank you, you have stopped";
    at("file").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    at("file").download = `answers-${record.participant}.json`;
    at("your-code").textContent = record.participant;
    at("check").textContent = record.sha256.slice(0, 12);
    if (study.completion_url !== null) at("return").href = study.completion_url;
    show("end");
    if (location.protocol.startsWith("http")) send(text);
    else over("Save the file with your answers and send it to the person who invited you.", true);
  }
  function over(text, save) {
    at("sent").textContent = text;
    at("file").classList.toggle("primary", save);
    at("return").hidden = study.completion_url === null;
  }
  async function send(text) {
    at("again").hidden = true;
    at("again").onclick = () => send(text);
    at("sent").textContent = "Your answers are being sent. Please keep this page open.";
    for (const wait of RETRY_MILLISECONDS) {
      await new Promise((done) => setTimeout(done, wait));
      try {
        const said = await fetch(new URL("answers", location.href), {
          method: "POST", headers: { "Content-Type": "application/json" }, body: text,
          credentials: "omit",
        });
        if (said.ok) {
          return over("Your answers have been received. " + (study.completion_url === null
            ? "You can close this page." : "Now finish the study:"), false);
        }
        if (said.status < 500) break;
      } catch { /* no connection: tried again */ }
    }
    at("again").hidden = false;
    over("Your answers could not be sent. Try again, or save the file and send it to the person " +
      "who invited you.", true);
  }

  function keys(event) {
    if (at("judge").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    const order = ["left", "tie", "right"];
    if (["1", "2", "3"].includes(event.key)) choose(order[event.key - 1]);
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      choose(event.key === "ArrowLeft" ? "left" : "right");
    } else if (event.key === "Enter" && event.target.tagName !== "BUTTON" && chosen()) {
      event.preventDefault();
      at("choose").requestSubmit();
    }
  }

  paragraphs("consent", study.wording.consent);
  paragraphs("instructions", study.wording.instructions);
  at("question").textContent = study.wording.question;
  at("code").value = parameter("PROLIFIC_PID") || parameter("code") || "";
  at("enter").addEventListener("submit", enter);
  at("go").addEventListener("click", judge);
  at("choose").addEventListener("change", () => { at("next").disabled = false; });
  at("choose").addEventListener("submit", answer);
  at("stop").addEventListener("click", () => sure(true));
  at("stop-no").addEventListener("click", () => { sure(false); at("place").focus(); });
  at("stop-yes").addEventListener("click", end);
  document.addEventListener("keydown", keys);
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") { if (since === null) startClock(); }
    else pauseClock();
  });
  addEventListener("pagehide", pauseClock);
  addEventListener("pageshow", (event) => { if (event.persisted) startClock(); });
  // The same code in two tabs: what one of them keeps, the other goes on from.
  addEventListener("storage", (event) => {
    if (state === null || event.key !== keyOf(state.participant)) return;
    const other = kept(state.participant);
    if (other === null || (other.trials.length <= state.trials.length && !other.ended)) return;
    since = null;
    state = other;
    if (state.ended !== null) finish();
    else if (!at("judge").hidden) judge();
  });
  show("start");
})();
