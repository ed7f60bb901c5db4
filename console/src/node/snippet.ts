/** A program that joins as a node, to be pasted into a shell that has waypost_sdk. */
import { quoted } from "../job/curl";

export type Made = { client_id: string; client_secret: string; relay_address: string };

export function snippet(origin: string, made: Made, tags: readonly string[]): string {
  const variables = [
    ["WAYPOST_URL", origin],
    ["WAYPOST_RELAY", made.relay_address],
    ["WAYPOST_CLIENT_ID", made.client_id],
    ["WAYPOST_CLIENT_SECRET", made.client_secret],
  ];
  return [
    ...variables.map(([name, value]) => `export ${name}=${quoted(value ?? "")}`),
    "python - <<'PYTHON'",
    "from waypost_sdk import Node",
    "",
    `node = Node(tags=[${tags.map((tag) => JSON.stringify(tag)).join(", ")}])`,
    "",
    '@node.function("text.count", max_in_flight=8)',
    "async def count(job, payload):",
    '    return {"words": len(payload["text"].split())}',
    "",
    "node.run()",
    "PYTHON",
  ].join("\n");
}

/** Tags that a node may have under these patterns: those without a wildcard. */
export function plainTags(patterns: readonly string[]): string[] {
  return patterns.filter((pattern) => !pattern.includes("*"));
}
