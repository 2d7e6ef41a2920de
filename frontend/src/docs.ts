// Lists the endpoints of /openapi.json with their parameters and bodies; the usual viewers load scripts from elsewhere.

import { element, find } from "./page";

// What of OpenAPI the server uses.
interface Type { $ref?: string; anyOf?: Type[]; items?: Type; type?: string; format?: string; enum?: string[]; const?: string; default?: unknown }
interface Model { properties?: Record<string, Type>; required?: string[]; description?: string }
interface Body { content?: Record<string, { schema: Type }> }
interface Parameter { name: string; in: string; required: boolean; schema: Type }
interface Endpoint { summary: string; parameters?: Parameter[]; requestBody?: Body; responses: Record<string, Body> }
interface Schema { paths: Record<string, Record<string, Endpoint>>; components: { schemas: Record<string, Model> } }

const schema: Schema = await (await fetch("/openapi.json")).json();
const named = (type?: Type) => type?.$ref?.split("/").at(-1);
const text = (textContent: string) => element("td", { textContent });
const code = (textContent: string) => element("code", { textContent });

function kind(type?: Type): string {
  if (!type) return "any";
  if (type.anyOf) return type.anyOf.map(kind).join(" or ");
  if (type.type === "array") return `list of ${kind(type.items)}`;
  return named(type) ?? type.enum?.join(" | ") ?? type.const ?? type.format ?? type.type ?? "any";
}

const byDefault = ({ default: value }: Type) => (value === undefined ? "" : JSON.stringify(value));

function row(name: string, what: string, required: boolean | undefined, type: Type) {
  return element("tr", {}, element("td", {}, code(name)), text(what), text(required ? "required" : byDefault(type)));
}

function fields(name: string) {
  const { properties = {}, required, description = "" } = schema.components.schemas[name] ?? {};
  const rows = Object.entries(properties).map(([key, type]) => row(key, kind(type), required?.includes(key), type));
  return [element("p", { className: "note", textContent: `${name}: ${description}` }), element("table", {}, ...rows)];
}

for (const [path, methods] of Object.entries(schema.paths)) {
  for (const [method, { summary, parameters = [], requestBody, responses }] of Object.entries(methods)) {
    const body = named(requestBody?.content?.["application/json"]?.schema), isFile = requestBody?.content?.["application/octet-stream"];
    const answer = Object.values(responses)[0]?.content?.["application/json"]?.schema, result = named(answer) ?? named(answer?.items);
    const rows = parameters.map((one) => row(one.name, `${kind(one.schema)}, in the ${one.in}`, one.required, one.schema));
    find("#endpoints").append(element("details", { className: "endpoint" },
      element("summary", {}, code(`${method.toUpperCase()} ${path}`), ` ${summary}`), element("table", {}, ...rows),
      ...(isFile ? [element("p", { textContent: "Body: the file." })] : []),
      ...(body ? fields(body) : []), ...(result ? [element("p", { textContent: "Answer:" }), ...fields(result)] : [])));
  }
}
