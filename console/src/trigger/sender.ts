/** A request that a webhook trigger takes, signed as its scheme asks: to try the sender's side in a shell. */
import { quoted } from "../job/curl";

/** A shell program for schemes whose signature openssl can make; null for the others. */
export function senderOf(scheme: string, url: string, secret: string, header: string | null): string | null {
  const body = `body='{"hello": "world"}'`;
  const hex = (text: string) => `$(printf '%s' ${text} | openssl dgst -sha256 -hmac ${quoted(secret)} | sed 's/.* //')`;
  const post = (headers: string) => `curl -s -X POST ${quoted(url)} -H 'Content-Type: application/json' ${headers} --data-raw "$body"`;
  switch (scheme) {
    case "standard": {
      const key = quoted(secret.replace(/^whsec_/, ""));
      return [
        body,
        'id="msg_$(openssl rand -hex 8)"; now=$(date +%s)',
        `key=$(printf '%s' ${key} | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \\n')`,
        `signature=$(printf '%s.%s.%s' "$id" "$now" "$body" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)`,
        post('-H "webhook-id: $id" -H "webhook-timestamp: $now" -H "webhook-signature: v1,$signature"'),
      ].join("\n");
    }
    case "github":
      return [body, post(`-H "X-GitHub-Delivery: $(openssl rand -hex 16)" -H "X-GitHub-Event: ping" -H "X-Hub-Signature-256: sha256=${hex('"$body"')}"`)].join("\n");
    case "hmac":
      return header === null ? null : [body, post(`-H "${header}: ${hex('"$body"')}"`)].join("\n");
    case "bearer":
      return [body, post(`-H ${quoted(`Authorization: Bearer ${secret}`)}`)].join("\n");
    default:
      return null;
  }
}
