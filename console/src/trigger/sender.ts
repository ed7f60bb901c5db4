/** A request that a webhook trigger takes, signed as its scheme asks: to try the sender's side in a shell. */
import type { Schemas } from "../api/client";
import { quoted } from "../job/curl";

export type Verify = Partial<Schemas["Verification"]> & Pick<Schemas["Verification"], "scheme">;

/** A shell program; the secret stands in its first line. */
export function senderOf(verify: Verify, url: string, secret: string): string {
  const { lines, headers } = signed(verify);
  const post = `curl -s -X POST ${quoted(url)} -H 'Content-Type: application/json' ${headers.map((header) => `-H "${header}"`).join(" ")} --data-raw "$body"`;
  return [`secret=${quoted(secret)}`, `body='{"hello": "world"}'`, ...lines, post].join("\n");
}

type Signed = { lines: string[]; headers: string[] };

function signed(verify: Verify): Signed {
  const now = "now=$(date +%s)";
  switch (verify.scheme) {
    case "standard":
      return {
        lines: [
          `id="msg_$(openssl rand -hex 8)"; ${now}`,
          `key=$(printf '%s' "\${secret#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \\n')`,
          `signature=$(printf '%s.%s.%s' "$id" "$now" "$body" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)`,
        ],
        headers: ["webhook-id: $id", "webhook-timestamp: $now", "webhook-signature: v1,$signature"],
      };
    case "github":
      return { lines: [hmac('"$body"')], headers: ["X-GitHub-Delivery: $(openssl rand -hex 16)", "X-GitHub-Event: push", "X-Hub-Signature-256: sha256=$signature"] };
    case "stripe":
      return { lines: [now, hmac('"$now.$body"')], headers: ["Stripe-Signature: t=$now,v1=$signature"] };
    case "slack":
      return { lines: [now, hmac('"v0:$now:$body"')], headers: ["X-Slack-Request-Timestamp: $now", "X-Slack-Signature: v0=$signature"] };
    case "hmac": {
      const more = verify.delivery_header ? [`${verify.delivery_header}: $(openssl rand -hex 16)`] : [];
      return { lines: [hmac('"$body"', verify.algorithm, verify.encoding)], headers: [`${verify.header}: ${verify.prefix ?? ""}$signature`, ...more] };
    }
    case "bearer":
      return { lines: [], headers: ["Authorization: Bearer $secret"] };
  }
}

function hmac(text: string, algorithm: Verify["algorithm"] = "sha256", encoding: Verify["encoding"] = "hex"): string {
  const written = encoding === "base64" ? "-binary | openssl base64 -A" : "| sed 's/.* //'";
  return `signature=$(printf '%s' ${text} | openssl dgst -${algorithm} -hmac "$secret" ${written})`;
}
