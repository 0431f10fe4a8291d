// Vocabularies in a browser: text -> ids, as llm_jax/tokenizer/live.py hands
// them over. makeEncoder(vocabulary) gives {encode, bytesOf}: `encode` has the
// same ids as Python's (a test compares them), and `bytesOf` the bytes of one.
"use strict";

// Byte -> the printable character that stands for it in byte-level tokens.
function byteAlphabet() {
  const chars = [];
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) ||
        (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae);
    chars.push(String.fromCharCode(printable ? byte : next++));
  }
  return chars;
}

const ALPHABET = byteAlphabet();
const BYTE_OF = new Map(ALPHABET.map((char, byte) => [char, byte]));
const TO_UTF8 = new TextEncoder();  // a lone surrogate becomes U+FFFD

// Joins the neighbours of lowest rank, the leftmost first, until none has one.
function mergeParts(parts, rankOf) {
  const ranks = [];
  for (let i = 0; i + 1 < parts.length; i++) {
    ranks.push(rankOf(parts[i], parts[i + 1]));
  }
  for (;;) {
    let best = Infinity, at = -1;
    for (let i = 0; i < ranks.length; i++) {
      if (ranks[i] < best) { best = ranks[i]; at = i; }
    }
    if (at < 0) return parts;
    parts.splice(at, 2, parts[at] + parts[at + 1]);
    ranks.splice(at, 1);
    if (at > 0) ranks[at - 1] = rankOf(parts[at - 1], parts[at]);
    if (at < ranks.length) ranks[at] = rankOf(parts[at], parts[at + 1]);
  }
}

// Matches of `pattern`, and what lies between them.
function cut(text, pattern) {
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > end) pieces.push(text.slice(end, match.index));
    if (match[0]) pieces.push(match[0]);
    end = match.index + match[0].length;
  }
  if (end < text.length) pieces.push(text.slice(end));
  return pieces;
}

function byteLevelEncoder(vocabulary) {
  const tokens = vocabulary.tokens.split("\n");
  const ids = new Map(tokens.map(
      (token, i) => [token, vocabulary.ids ? vocabulary.ids[i] : i]));
  const names = new Map(Array.from(ids, ([token, id]) => [id, token]));
  const merges = vocabulary.merges && new Map(
      vocabulary.merges.split("\n").map((pair, rank) => [pair, rank]));
  // Tokens in order of making, or a list of the pairs that make them.
  const rankOf = (a, b) =>
      (merges ? merges.get(a + " " + b) : ids.get(a + b)) ?? Infinity;
  const steps = vocabulary.steps.map((pattern) => new RegExp(pattern, "gu"));
  const known = new Map();  // pieces come again and again

  function encodePiece(piece) {
    let found = known.get(piece);
    if (found === undefined) {
      // A few vocabularies lack bytes that no text has, and pass them over.
      const parts = Array.from(TO_UTF8.encode(piece), (b) => ALPHABET[b])
          .filter((char) => ids.has(char));
      const whole = vocabulary.whole ? ids.get(parts.join("")) : undefined;
      found = whole !== undefined ? [whole]
          : mergeParts(parts, rankOf).map((part) => ids.get(part));
      if (known.size > 50000) known.clear();
      known.set(piece, found);
    }
    return found;
  }

  return {
    encode(text) {
      let pieces = [vocabulary.compose ? text.normalize("NFC") : text];
      for (const step of steps) {
        pieces = pieces.flatMap((piece) => cut(piece, step));
      }
      return pieces.flatMap((piece) => piece ? encodePiece(piece) : []);
    },
    bytesOf: (id) => Array.from(names.get(id) ?? "", (c) => BYTE_OF.get(c)),
  };
}

function sentencePieceEncoder(vocabulary) {
  const NORMAL = 1, BYTE = 6, SPACE = "\u2581";
  const { pieces, scores, types } = vocabulary;
  const ids = new Map(), byteIds = [];
  let longest = 1, lowest = Infinity;
  pieces.forEach((piece, id) => {
    if (types[id] === BYTE) {
      byteIds[parseInt(piece.slice(3, 5), 16)] = id;
    } else if (types[id] === NORMAL) {
      ids.set(piece, id);
      longest = Math.max(longest, Array.from(piece).length);
      lowest = Math.min(lowest, scores[id]);
    }
  });

  function idsOf(piece) {
    const id = ids.get(piece);
    return id !== undefined ? [id]
        : Array.from(TO_UTF8.encode(piece), (byte) => byteIds[byte]);
  }

  const rankOf = (a, b) => {
    const id = ids.get(a + b);
    return id === undefined ? Infinity : -scores[id];
  };
  const merged = (chars) => mergeParts(chars, rankOf);

  // The likeliest way to cut; sums in 32 bits, as SentencePiece adds them.
  function likeliest(chars) {
    const unknown = Math.fround(lowest - 10);
    const best = new Array(chars.length + 1).fill(null);
    best[0] = { score: 0, start: -1 };
    const offer = (start, end, score) => {
      const sum = Math.fround(best[start].score + score);
      if (best[end] === null || sum > best[end].score) {
        best[end] = { score: sum, start };
      }
    };
    for (let start = 0; start < chars.length; start++) {
      let piece = "";
      for (let end = start + 1;
           end <= Math.min(chars.length, start + longest); end++) {
        piece += chars[end - 1];
        const id = ids.get(piece);
        if (id !== undefined) {
          offer(start, end, scores[id]);
        } else if (end === start + 1) {
          offer(start, end, unknown);
        }
      }
    }
    const found = [];
    for (let end = chars.length; end > 0; end = best[end].start) {
      found.push(chars.slice(best[end].start, end).join(""));
    }
    return found.reverse();
  }

  return {
    encode(text) {
      text = text.toWellFormed ? text.toWellFormed()
          : new TextDecoder().decode(TO_UTF8.encode(text));
      text = text.replaceAll(" ", SPACE);
      if (vocabulary.add_space && text) text = SPACE + text;
      const split = vocabulary.unigram ? likeliest : merged;
      // Where no piece crosses the beginning of a word, words are apart.
      const parts = vocabulary.unigram || !vocabulary.words_apart ? [text]
          : text.split(/(?<=[^\u2581])(?=\u2581)/u);
      return parts.flatMap((part) => split(Array.from(part)).flatMap(idsOf));
    },
    bytesOf: (id) => types[id] === BYTE
        ? [parseInt(pieces[id].slice(3, 5), 16)]
        : Array.from(TO_UTF8.encode(pieces[id].replaceAll(SPACE, " "))),
  };
}

function makeEncoder(vocabulary) {
  return vocabulary.kind === "bpe" ? byteLevelEncoder(vocabulary)
      : sentencePieceEncoder(vocabulary);
}

// A token's bytes as characters that can be seen: what Python's `visible` shows.
function visible(bytes) {
  const hex = (value, width) => value.toString(16).padStart(width, "0");
  let shown = "";
  for (let i = 0; i < bytes.length;) {
    const lead = bytes[i];
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    let char = null;
    try {
      char = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
          Uint8Array.from(bytes.slice(i, i + length)));
    } catch {
      // bytes of a character that is in another token
    }
    if (char === null || Array.from(char).length !== 1) {
      shown += "\\x" + hex(lead, 2);
      i += 1;
      continue;
    }
    i += length;
    const code = char.codePointAt(0);
    if (char === "\n") {
      shown += "\u23ce\n";
    } else if (char === " " || !/[\p{C}\p{Z}]/u.test(char)) {
      shown += char;
    } else {
      shown += code < 0x100 ? "\\x" + hex(code, 2)
          : code < 0x10000 ? "\\u" + hex(code, 4) : "\\U" + hex(code, 8);
    }
  }
  return shown;
}
