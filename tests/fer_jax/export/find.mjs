// node find.mjs PATH/faces.mjs SETTINGS.json PICTURES.json: what findFaces finds in each picture.
import { readFileSync } from "node:fs";

const [module, settingsFile, picturesFile] = process.argv.slice(2);
const { findFaces, prepare, toGrey } = await import(module);
const settings = JSON.parse(readFileSync(settingsFile));
settings.face = prepare(settings.face);
settings.eye = prepare(settings.eye);
const pictures = JSON.parse(readFileSync(picturesFile));
const found = pictures.map(({ file, width, height }) => {
  const data = readFileSync(file); // RGBA
  const faces = findFaces(toGrey({ width, height, data }), settings);
  return faces.map(({ box, crop }) => ({ box, crop: [...crop] }));
});
console.log(JSON.stringify(found));
