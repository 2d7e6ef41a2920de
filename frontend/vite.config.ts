import { defineConfig } from "vite";

export default defineConfig({
  base: "/static/", // where the server mounts the folder
  logLevel: "warn",
  build: {
    outDir: "../foleygram/app/static",
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.md" },
    rolldownOptions: {
      input: ["index.html", "docs.html"],
      // names without hashes: a build of the same sources is the same files, and the tests name them
      output: { entryFileNames: "[name].js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
    },
  },
});
