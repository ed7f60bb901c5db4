import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode, useEffect } from "react";
import { createRoot } from "react-dom/client";
import { useCredential } from "./api/credential";
import { isConnected, subscribe } from "./api/connection";
import { Problem } from "./api/problem";
import { router } from "./router";
import "./style/index.css";

const RETRIES = 2;

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      // A gateway that is away is asked until it answers; a refusal is final.
      retry: (failures, error) => error instanceof Problem && (error.away || (error.retryable && failures < RETRIES)),
      retryDelay: (failures) => Math.min(500 * 2 ** failures, 3_000),
      networkMode: "always",
    },
    mutations: { networkMode: "always" },
  },
});

// After a gap everything on the page is looked at anew.
subscribe(() => {
  if (isConnected()) void client.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "jobs" });
});

function App() {
  const credential = useCredential();
  useEffect(() => {
    // Signed out, here or by the server: routes look again and lead to the sign-in page.
    if (credential === null) {
      client.clear();
      void router.invalidate();
    }
  }, [credential]);
  return <RouterProvider router={router} />;
}

const element = document.getElementById("root");
if (element === null) throw new Error("index.html has no #root");
createRoot(element).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <App />
    </QueryClientProvider>
  </StrictMode>,
);
