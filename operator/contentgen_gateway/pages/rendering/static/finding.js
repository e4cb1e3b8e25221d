// The search's rule: folding, terms of a text, conditions of a query. The same as contentgen_contract/records/
// searching.py and contentgen_gateway/transcripts, which explain it; the tests compare both. Pure: needs no page.
"use strict";

const finding = (() => {
  const MAX_CHARACTERS = 40;
  const AROUND_END = 60;
  const UNSPACED = /^[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u2e80-\u2fdf\u3003-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f\u{1aff0}-\u{1b16f}\u{20000}-\u{3ffff}]/u;
  const IGNORED = /[\u02b9-\u02df\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1-\u05c2\u05c4-\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0711\u0730-\u074a\u08ca-\u08ff\u093c\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\u{e0100}-\u{e01ef}\p{Cf}]/u;
  const FROM = [..."øđħıłŧƀƃƈƌƒƙƚƞƥƫƭƴƶǥȡȥȴȵȶȷȼȿɀɇɉɋɍɏɓɖɗɠɨɲʉʋⱥⱦðəɛɔɵʈŋĸςґғқңҳұҷىیکةہٱ"];
  const TO = [..."odhiltbbcdfklnpttyzgdzlntjcszejqrybddginuvatdeeootnkσггкнхучييكهها"];
  const LETTERS = new Map([...FROM.map((letter, at) => [letter, TO[at]]), ["ß", "ss"], ["æ", "ae"], ["œ", "oe"], ["þ", "th"]]);

  const fold = (text) => [...text.normalize("NFKD").toLowerCase()]
    .map((each) => (IGNORED.test(each) ? "" : LETTERS.get(each) ?? each)).join("")
    .replace(/[^\p{L}\p{M}\p{N}]/gu, "").normalize("NFC");

  // " " between words, "-" inside a chunk, "w" and "u": letters with and without spaces between words, "": goes on.
  function kind(character) {
    if (IGNORED.test(character) || /^\p{M}/u.test(character.normalize("NFKD"))) return "";
    if (/[\p{L}\p{N}]/u.test(character)) return UNSPACED.test(character) ? "u" : "w";
    return /[\p{Z}\p{Cc}]/u.test(character) ? " " : "-";
  }

  function runs(characters) {
    const found = [{ kind: " ", start: 0, end: 0 }];
    characters.forEach((each, at) => {
      const last = found.at(-1);
      const now = kind(each) || last.kind;
      if (now === last.kind) last.end = at + 1;
      else found.push({ kind: now, start: at, end: at + 1 });
    });
    return found;
  }

  function letters(characters, start, end) {
    const found = [];
    let first = start;
    for (let at = start + 1; at <= end; at++) {
      if (at < end && !kind(characters[at])) continue;
      for (const text of fold(characters.slice(first, at).join(""))) found.push({ text, start: first, end: at });
      first = at;
    }
    return found;
  }

  const cut = (text) => [...text].slice(0, MAX_CHARACTERS).join("");

  // Positions in code points.
  function pieces(text) {
    const characters = [...text.normalize("NFC")];
    const found = [];
    let parts = [];
    const close = () => {
      if (parts.length) found.push({ unspaced: false, parts });
      parts = [];
    };
    for (const { kind: now, start, end } of runs(characters)) {
      if (now === "w") {
        const folded = cut(fold(characters.slice(start, end).join("")));
        if (folded) parts.push({ text: folded, start, end });
      } else if (now !== "-") {
        close();
        const run = now === "u" ? letters(characters, start, end) : [];
        if (run.length) found.push({ unspaced: true, parts: run });
      }
    }
    close();
    return found;
  }

  const joined = (parts) => cut(parts.map((each) => each.text).join(""));
  const pairs = (parts) => parts.slice(1).map((two, at) => ({ text: parts[at].text + two.text, start: parts[at].start, end: two.end }));

  const terms = (text) => pieces(text).flatMap(({ unspaced, parts }) => {
    if (unspaced) return [...pairs(parts), parts.at(-1)];
    return parts.length < 2 ? parts : [...parts, { text: joined(parts), start: parts[0].start, end: parts.at(-1).end }];
  });

  function conditions(query) {
    const all = pieces(query);
    const found = all.flatMap(({ unspaced, parts }, number) => {
      if (unspaced && parts.length === 1) return [[{ text: parts[0].text, prefix: true }]];
      if (unspaced) return pairs(parts).map(({ text }) => [{ text, prefix: false }]);
      const last = number === all.length - 1;
      const whole = parts.length > 1 ? [{ text: joined(parts), prefix: last }] : [];
      return parts.map(({ text }, at) => [{ text, prefix: last && at === parts.length - 1 }, ...whole]);
    });
    return [...new Map(found.map((each) => [JSON.stringify(each), each])).values()];
  }

  const meets = (term, alternatives) => alternatives.some(({ text, prefix }) => (prefix ? term.startsWith(text) : term === text));

  // Passages of a page's words [{text, first, spaced}], `first` of a passage, `spaced` from the next word: each with
  // its words and their places in its text.
  function passages(words) {
    const found = [];
    for (const word of words) {
      if (word.first || !found.length) found.push({ words: [], text: "", space: "" });
      const passage = found.at(-1);
      const start = [...(passage.text += passage.space)].length;
      passage.text += word.text;
      passage.words.push({ ...word, start, end: start + [...word.text].length });
      passage.space = word.spaced ? " " : "";
    }
    return found;
  }

  // Words of a hit; at least one.
  function words(all, { passage, places }) {
    const { words: own, text, space } = all[passage];
    const behind = [...text].length + space.length;
    const next = (all[passage + 1]?.words ?? []).map((word) => ({ ...word, start: word.start + behind, end: word.end + behind }));
    const near = [...own, ...next];
    const found = near.filter((word) => places.some(({ start, end }) => start < word.end && word.start < end));
    return found.length ? found : near.slice(0, 1);
  }

  // Terms of each passage, with the beginning of the next.
  const indexed = (all) => all.map(({ text, space }, number) => {
    const next = [...(all[number + 1]?.text ?? "")];
    let following = next.slice(0, AROUND_END).join("");
    if (next.length > AROUND_END && next[AROUND_END] !== " " && following.includes(" ")) {
      following = following.slice(0, following.lastIndexOf(" "));
    }
    return { own: [...text].length, terms: terms(text + (next.length ? space : "") + following) };
  });

  // Places of each hit: passages that meet all conditions, or meet them near their end with the beginning of the next.
  function hits(all, query) {
    const sought = conditions(query);
    if (!sought.length) return [];
    return all.flatMap(({ own, terms: said }, passage) => {
      const met = sought.map((each) => said.filter(({ text }) => meets(text, each)).map((place) => ({ ...place, before: place.start < own })));
      const alone = met.every((each) => each.some(({ before }) => before));
      const near = met.map((each) => each.filter(({ start }) => start >= own - AROUND_END));
      const across = sought.length > 1 && near.every((each) => each.length) && near.flat().some(({ before }) => before);
      if (!alone && !across) return [];
      return [{ passage, places: met.flat().filter(({ before }) => before || !alone) }];
    });
  }

  return { fold, kind, terms, conditions, passages, words, indexed, hits };
})();
