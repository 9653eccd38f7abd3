"""The one script of the live page. It changes nothing anywhere: it asks for the same page again and swaps what differs.

* It asks every few seconds, with the tag of what it has: mostly the answer is "not modified". Nobody looks: it waits.
* What is there stays the same element: focus, selection, scroll position and what was opened survive. Rows of a table
  are told apart by what their first cell says, so a row that comes in above moves nothing out of a reader's hand.
* What changed is said once, politely, and at most every twenty seconds. Updates can be paused (WCAG 2.2, 2.2.2).
* When the server does not answer, the page says so and since when, and tries again, ever less often.
"""

from __future__ import annotations

from typing import Final

SCRIPT: Final = """'use strict';
(() => {
  const main = document.querySelector('main[data-every]');
  const state = document.getElementById('live-state');
  const said = document.getElementById('live-said');
  const pause = document.getElementById('live-pause');
  if (!main || !state || !said || !pause) return;

  const every = Number(main.dataset.every) * 1000;
  const SAY_EVERY = 20000;
  const LONGEST = 30000;
  let tag = '', paused = false, failures = 0, timer = 0, asking = false;
  let shown = new Date(), saidAt = 0, unsaid = new Set();

  const clock = when => when.toISOString().slice(11, 19) + 'Z';

  // ---- what differs

  const nameOf = node => {
    if (node.nodeType !== Node.ELEMENT_NODE) return '';
    if (node.id) return '#' + node.id;
    return node.localName === 'tr' && node.firstElementChild ? node.firstElementChild.textContent : '';
  };
  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && nameOf(a) === nameOf(b);

  const attributes = (now, then) => {
    for (const {name} of [...now.attributes])
      if (!then.hasAttribute(name) && !(name === 'open' && now.localName === 'details')) now.removeAttribute(name);
    for (const {name, value} of then.attributes)
      if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  };

  const merge = (now, then, changed) => {
    if (now.nodeType === Node.TEXT_NODE) {
      if (now.data !== then.data) { now.data = then.data; changed(now.parentElement); }
      return;
    }
    if (now.nodeType !== Node.ELEMENT_NODE || now.isEqualNode(then)) return;
    attributes(now, then);
    const wanted = new Set([...then.childNodes].map(nameOf));
    const named = new Map();
    for (const child of [...now.childNodes]) {
      const name = nameOf(child);
      if (name && !wanted.has(name)) { child.remove(); changed(now); }
      else if (name) named.set(name, [...(named.get(name) || []), child]);
    }
    let place = now.firstChild;
    for (const next of [...then.childNodes]) {
      const name = nameOf(next);
      const found = name ? (named.get(name) || []).shift() : place && alike(place, next) ? place : null;
      if (found && alike(found, next)) {
        if (found !== place) place = moved(now, found, place);
        place = found.nextSibling;
        merge(found, next, changed);
      } else {
        const made = document.importNode(next, true);
        now.insertBefore(made, place);
        changed(made.nodeType === Node.ELEMENT_NODE ? made : now);
      }
    }
    while (place) { const next = place.nextSibling; place.remove(); changed(now); place = next; }
  };
  // To move an element takes the focus away from it. So one that has it stays, and what stands before it goes: it is
  // put in again where it is wanted.
  const moved = (parent, found, place) => {
    if (found.contains(document.activeElement))
      while (place && place !== found) { const next = place.nextSibling; place.remove(); place = next; }
    else parent.insertBefore(found, place);
    return found;
  };
  // What a reader looks at stays where it is on the screen.
  const held = () => {
    if (!scrollY) return () => {};
    const seen = node => {
      const {top, bottom} = node.getBoundingClientRect();
      return bottom > 0 && top < innerHeight;
    };
    const active = document.activeElement;
    const anchor = active && main.contains(active) && seen(active) ? active
      : [...main.querySelectorAll('tr, h2, h3, figure')].find(seen);
    const was = anchor && anchor.getBoundingClientRect().top;
    return () => { if (anchor && anchor.isConnected) scrollBy(0, anchor.getBoundingClientRect().top - was); };
  };

  const take = text => {
    const fresh = new DOMParser().parseFromString(text, 'text/html');
    const then = fresh.querySelector('main[data-every]');
    if (!then) throw new Error('another page');
    const active = document.activeElement;
    const around = active && main.contains(active) ? active.closest('.scroll') || active.closest('section') : null;
    const parts = new Set();
    const hold = held();
    merge(main, then, node => {
      const section = node && node.closest && node.closest('section');
      const heading = section && section.querySelector('h2');
      if (heading) parts.add(heading.textContent);
      const row = node && node.closest && node.closest('tr, li');
      if (row) { row.classList.remove('changed'); void row.offsetWidth; row.classList.add('changed'); }
    });
    hold();
    document.title = fresh.title;
    const lost = around && around.isConnected && !active.isConnected;
    if (lost) {
      if (!around.hasAttribute('tabindex')) around.tabIndex = -1;
      around.focus({preventScroll: true});
    }
    parts.forEach(part => unsaid.add(part));
  };

  // ---- what is said

  const tell = () => {
    if (paused) state.textContent = `Paused: this is how it stood at ${clock(shown)}.`;
    else if (failures) state.textContent = `Not up to date: no answer; this is how it stood at ${clock(shown)}.`;
    else state.textContent = `Live: as of ${clock(shown)}.`;
    state.className = failures && !paused ? 'off' : '';
  };
  const say = () => {
    if (!unsaid.size || Date.now() - saidAt < SAY_EVERY) return;
    said.textContent = `Updated at ${clock(shown)}: ${[...unsaid].join(', ')}.`;
    saidAt = Date.now();
    unsaid = new Set();
  };

  // ---- asking

  const ask = async () => {
    if (asking || paused || document.hidden) return;
    asking = true;
    try {
      const headers = tag ? {'If-None-Match': tag} : {};
      const answer = await fetch(location.href.split('#')[0], {headers, cache: 'no-store', redirect: 'error'});
      if (answer.status === 200) {
        const text = await answer.text();
        tag = answer.headers.get('ETag') || '';
        take(text);
      } else if (answer.status !== 304) throw new Error(String(answer.status));
      shown = new Date();
      if (failures) said.textContent = 'The page is up to date again.';
      failures = 0;
    } catch {
      failures += 1;
      if (failures === 2) said.textContent = 'The page is not up to date: its server does not answer.';
    }
    asking = false;
    tell();
    say();
    next();
  };
  const next = () => {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(ask, Math.min(every * 2 ** Math.max(failures - 1, 0), LONGEST));
  };

  pause.addEventListener('click', () => {
    paused = !paused;
    pause.textContent = paused ? 'Go on updating' : 'Pause updates';
    tell();
    if (paused) clearTimeout(timer); else ask();
  });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) ask(); });
  pause.hidden = false;
  document.getElementById('live-still').hidden = true;
  ask();
})();
"""
