import { defineConfig } from "vite";

// One entry, hashed names below /ui/assets, nothing inline: the page's Content-Security-Policy allows only files
// of its own origin.
export default defineConfig({
  base: "/ui/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../api/dashboard/dist",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
});
