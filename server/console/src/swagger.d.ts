declare module "swagger-ui-dist/swagger-ui-es-bundle.js" {
  /** Shows a document of an API; options as Swagger UI documents them. */
  export default function SwaggerUI(options: Record<string, unknown>): unknown
}
