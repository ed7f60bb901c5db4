import { describe, expect, it } from "vitest";
import { endedOf, openOf } from "./filter";
import { cell, headOf, rowOf } from "./rows";

describe("jobs as rows", () => {
  it("are cells that no spreadsheet runs, and numbers as they are written", () => {
    expect(["=1+1", "+1 day", "-rm", "@home", "\tx"].map(cell)).toEqual(["'=1+1", "'+1 day", "'-rm", "'@home", "'\tx"]);
    expect(["-5", "12.50", "-1E400", "1234567890123456789012345678901234567890"].map(cell)).toEqual(["-5", "12.50", "-1E400", "1234567890123456789012345678901234567890"]);
    expect(['say "a, b"', "two\nlines", '=HYPERLINK("x")', ""].map(cell)).toEqual(['"say ""a, b"""', '"two\nlines"', `"'=HYPERLINK(""x"")"`, ""]);
  });

  it("have the bodies when they are asked for", () => {
    const job = '{"id":"j","function":"a.b","labels":{"a":"=b"},"tags":["gpu"],"payload":{"n": 12.50},"result":null,"error":{"code":"c","message":"-m"}}';
    expect(headOf("csv", false).split(",").slice(0, 3)).toEqual(["id", "function", "state"]);
    const bare = rowOf("csv", job, false);
    expect(bare).toMatch(/^j,a\.b,/);
    expect(bare).toContain(`"[""gpu""]","{""a"":""=b""}"`);
    expect(bare).not.toContain("12.50");
    expect(rowOf("csv", job, true)).toContain(`"{""n"": 12.50}",null,c,'-m\r\n`);
  });

  it("are one line of JSON each", () => {
    expect(rowOf("jsonl", '{"payload":{\n"n": 1E400}}', true)).toBe('{"payload":{ "n": 1E400}}\n');
  });
});

it("what is done to many takes only states that the filters let through", () => {
  expect(endedOf({ state: ["queued", "failed"] })?.state).toEqual(["failed"]);
  expect(endedOf({ state: ["queued"] })).toBeNull();
  expect(openOf({})?.state).toEqual(["queued", "running", "retrying"]);
  expect(openOf({ state: ["failed"] })).toBeNull();
});
