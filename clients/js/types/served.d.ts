// The gateway serves src/ at /client/; the pages import it from there.
declare module "*/client/framegate.js" {
  export const Framegate: typeof import("../src/framegate.js").Framegate;
}
