/** An answer of the API as a file: asked for with this tab's credential, which an address would not carry. */
import { useMutation } from "@tanstack/react-query";
import type { Problem } from "../api/problem";
import { Button } from "./control";
import { saveFrom } from "./save";

/** `name` of the file, without anything that somebody else wrote. */
export function Download({ label, path, name }: { label: string; path: string; name: string }) {
  const read = useMutation<void, Problem>({
    mutationFn: () => saveFrom(path, name),
  });
  return (
    <>
      {read.error && (
        <span className="fault" role="alert">
          {read.error.message}
        </span>
      )}
      <Button isDisabled={read.isPending} onPress={() => read.mutate()}>
        {read.isPending ? `${label}…` : label}
      </Button>
    </>
  );
}
