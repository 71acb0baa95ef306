import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js"
import "swagger-ui-dist/swagger-ui.css"
import "./docs.css"

SwaggerUI({
  url: "/openapi.json",
  domNode: document.getElementById("api"),
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  filter: true,
  tryItOutEnabled: false,
  // Nobody else is asked whether the document is well formed.
  validatorUrl: null,
  // What is typed under Authorize is gone with the page.
  persistAuthorization: false,
})
