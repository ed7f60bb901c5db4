/** Files that were made or read here, for the person's own disk. */
import { useEffect, useRef, useState } from "react";
import { refusal, send } from "../api/client";
import { bytes } from "./text";

/** A link that saves it, ready for Enter; the file is let go of with the link. */
export function SaveLink({ file, name }: { file: Blob; name: string }) {
  const [href, setHref] = useState<string>();
  useEffect(() => {
    const made = URL.createObjectURL(file);
    setHref(made);
    return () => URL.revokeObjectURL(made);
  }, [file]);
  const link = useRef<HTMLAnchorElement>(null);
  useEffect(() => link.current?.focus(), [href]);
  return (
    <a ref={link} className="button primary" href={href} download={name}>
      Save the file ({bytes(file.size)})
    </a>
  );
}

/** As if such a link had been followed. */
function save(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser reads it after the click
}

/** An answer of the API as a file: asked for with this tab's credential, which an address would not carry. Throws its Problem. */
export async function saveFrom(path: string, name: string): Promise<void> {
  const response = await send(new Request(new URL(path, location.origin)));
  if (!response.ok) throw await refusal(response);
  save(await response.blob(), name);
}
