/** The environment that the address names. */
import { useParams } from "@tanstack/react-router";
import type { Place } from "../api/client";

export function usePlace(): Place {
  return useParams({ from: "/e/$org/$project/$environment" });
}
