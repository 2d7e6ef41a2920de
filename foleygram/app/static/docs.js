// Lists the endpoints of /openapi.json with their parameters and bodies; the usual viewers load scripts from elsewhere.

const schema = await (await fetch("/openapi.json")).json();
const element = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const named = (reference) => reference?.$ref?.split("/").at(-1);

function kind(type) {
  if (!type) return "any";
  if (type.$ref) return named(type);
  if (type.anyOf) return type.anyOf.map(kind).join(" or ");
  if (type.type === "array") return `list of ${kind(type.items)}`;
  return type.enum ? type.enum.join(" | ") : (type.const ?? type.format ?? type.type ?? "any");
}

function fields(name) {
  const { properties = {}, required = [], description = "" } = schema.components.schemas[name] ?? {};
  const rows = Object.entries(properties).map(([key, type]) =>
    element("tr", {}, element("td", {}, element("code", { textContent: key })), element("td", { textContent: kind(type) }),
      element("td", { textContent: required.includes(key) ? "required" : type.default === undefined ? "" : JSON.stringify(type.default) })));
  return [element("p", { className: "note", textContent: `${name}: ${description}` }), element("table", {}, ...rows)];
}

for (const [path, methods] of Object.entries(schema.paths)) {
  for (const [method, { summary, parameters = [], requestBody, responses }] of Object.entries(methods)) {
    const body = requestBody?.content["application/json"]?.schema, file = requestBody?.content["application/octet-stream"];
    const answer = Object.values(responses)[0]?.content?.["application/json"]?.schema, result = named(answer) ?? named(answer?.items);
    const rows = parameters.map((one) =>
      element("tr", {}, element("td", {}, element("code", { textContent: one.name })), element("td", { textContent: `${kind(one.schema)}, in the ${one.in}` }),
        element("td", { textContent: one.required ? "required" : JSON.stringify(one.schema.default) ?? "" })));
    document.querySelector("#endpoints").append(element("details", { className: "endpoint" },
      element("summary", {}, element("code", { textContent: `${method.toUpperCase()} ${path}` }), ` ${summary}`),
      element("table", {}, ...rows), ...(file ? [element("p", { textContent: "Body: the file." })] : []),
      ...(named(body) ? fields(named(body)) : []), ...(result ? [element("p", { textContent: "Answer:" }), ...fields(result)] : [])));
  }
}
