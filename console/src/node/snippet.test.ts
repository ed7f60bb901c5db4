import { describe, expect, it } from "vitest";
import { plainTags, snippet } from "./snippet";

describe("the program of a new node", () => {
  it("quotes what goes into a shell and leaves wildcards out of the tags", () => {
    const made = { client_id: "wpn_x", client_secret: "it's", relay_address: "r:1" };
    expect(snippet("http://w", made, plainTags(["gpu", "region=*"]))).toContain(`export WAYPOST_CLIENT_SECRET='it'\\''s'`);
    expect(snippet("http://w", made, plainTags(["gpu", "region=*"]))).toContain('Node(tags=["gpu"])');
  });
});
