import { defineConfig } from "vite"

// `npm run dev` serves the sources and passes everything else on to a server that runs already.
const server = process.env.FACESOCIAL ?? "http://127.0.0.1:8000"
const paths = ["/api", "/analyze", "/face-recognition", "/health", "/services"]
// Without authentication the server answers pages of its own origin alone, so that the proxy speaks as one.
const proxy = Object.fromEntries(
  paths.map((path) => [path, { target: server, ws: true, changeOrigin: true, headers: { origin: server } }]),
)

export default defineConfig({
  base: "/console/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    // Data addresses in styles would widen the policy of what pages may load.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The viewer of the API document is large and nothing of ours.
    chunkSizeWarningLimit: 2000,
    rolldownOptions: { input: { index: "index.html", docs: "docs.html" } },
  },
  server: { proxy },
})
