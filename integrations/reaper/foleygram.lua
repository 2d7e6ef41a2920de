-- Sends the film of the selected item to a running `foleygram serve` and puts the sound that it makes into the project:
-- a track per stem, and a marker per onset. Regions of the project that lie inside the item and have a name become
-- regions of the film with that name as their prompt. Needs curl, which Windows, macOS and most Linux systems have.

local TITLE, SECTION = "foleygram", "foleygram"
local DEFAULT_ADDRESS = "http://127.0.0.1:7860"
local REQUEST_MS, POLL_SEC = 600000, 0.5

local function fail(message)
  error({ message = message }, 0)
end

-- ---- text ----

local function url_encoded(text)
  return (text:gsub("[^%w%-%._~]", function(c) return string.format("%%%02X", c:byte()) end))
end

local function json_string(text)
  local escaped = text:gsub('[%z\1-\31\\"]', function(c) return string.format("\\u%04x", c:byte()) end)
  return '"' .. escaped .. '"'
end

local function quoted(argument)
  if argument:find('["\r\n]') then fail("a name with a quotation mark or line break cannot be sent: " .. argument) end
  return '"' .. argument .. '"'
end

-- ---- HTTP by curl ----

local function curl(arguments)
  local output = reaper.ExecProcess("curl -sS -g --fail-with-body " .. table.concat(arguments, " "), REQUEST_MS)
  if not output then fail("curl could not be started; install it") end
  local code, body = output:match("^(%-?%d+)\r?\n(.*)$")
  if code ~= "0" then
    local detail = (body or ""):match('"detail":"(.-[^\\])"')
    fail(detail or ("foleygram serve does not answer; start it in a terminal. " .. (body or "")))
  end
  return body
end

local function get(address, path)
  return curl({ quoted(address .. path) })
end

local function download(address, path, file)
  curl({ "-o", quoted(file), quoted(address .. path) })
end

local function upload(address, path, file)
  return curl({ "-X", "POST", "-T", quoted(file), quoted(address .. path .. "?name=" .. url_encoded(file:match("[^/\\]+$"))) })
end

local function post(address, path, json)
  local name = os.tmpname()
  local file = assert(io.open(name, "wb"))
  file:write(json)
  file:close()
  local ok, answer = pcall(curl, {
    "-X", "POST", "-H", quoted("content-type: application/json"), "--data-binary", quoted("@" .. name), quoted(address .. path),
  })
  os.remove(name)
  if not ok then error(answer, 0) end
  return answer
end

-- ---- the project ----

local function selected_film()
  local item = reaper.GetSelectedMediaItem(0, 0)
  if not item then fail("select an item with a film first") end
  local take = reaper.GetActiveTake(item)
  if not take then fail("the selected item is empty") end
  if math.abs(reaper.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE") - 1) > 1e-6 then
    fail("the item's play rate is not 1; glue it first")
  end
  local file = reaper.GetMediaSourceFileName(reaper.GetMediaItemTake_Source(take), "")
  if file == "" then fail("the item's film is not a file") end
  return {
    file = file,
    position = reaper.GetMediaItemInfo_Value(item, "D_POSITION"),
    length = reaper.GetMediaItemInfo_Value(item, "D_LENGTH"),
    offset = reaper.GetMediaItemTakeInfo_Value(take, "D_STARTOFFS"),
  }
end

-- Named regions of the project inside the item, as JSON, in seconds of the film.
local function segments(film)
  local found, index = {}, 0
  while true do
    local more, is_region, start, finish, name = reaper.EnumProjectMarkers(index)
    if more == 0 then break end
    if is_region and name ~= "" and start >= film.position - 1e-6 and finish <= film.position + film.length + 1e-6 then
      local first = math.max(0, start - film.position + film.offset)
      found[#found + 1] = string.format(
        '{"start":%.6f,"end":%.6f,"prompt":%s}', first, finish - film.position + film.offset, json_string(name))
    end
    index = index + 1
  end
  return "[" .. table.concat(found, ",") .. "]"
end

local function insert_stem(film, file, name)
  local number = reaper.CountTracks(0)
  reaper.InsertTrackAtIndex(number, true)
  local track = reaper.GetTrack(0, number)
  reaper.GetSetMediaTrackInfo_String(track, "P_NAME", name, true)
  local item = reaper.AddMediaItemToTrack(track)
  local take = reaper.AddTakeToMediaItem(item)
  reaper.SetMediaItemTake_Source(take, reaper.PCM_Source_CreateFromFile(file))
  reaper.SetMediaItemInfo_Value(item, "D_POSITION", film.position)
  reaper.SetMediaItemInfo_Value(item, "D_LENGTH", film.length)
  reaper.SetMediaItemTakeInfo_Value(take, "D_STARTOFFS", film.offset)
end

local function insert_markers(film, table_of_markers)
  for name, hours, minutes, seconds in table_of_markers:gmatch("M%d+,([^,\n]*),(%d+):(%d+):([%d.]+)") do
    local time = 3600 * tonumber(hours) + 60 * tonumber(minutes) + tonumber(seconds) - film.offset
    if time >= 0 and time <= film.length then
      reaper.AddProjectMarker2(0, false, film.position + time, 0, name, -1, 0)
    end
  end
end

local function insert_take(address, film, number)
  local path = string.format("/api/films/%s/takes/%d", film.id, number)
  local stems = tonumber(get(address, path):match('"stems":(%d+)'))
  local stem_name = film.file:match("([^/\\]+)%.[^%.]*$") or "film"
  reaper.Undo_BeginBlock()
  for stem = 1, stems do
    local name = string.format("%s take %d stem %d", stem_name, number, stem)
    local file = string.format("%s/%s %s.wav", reaper.GetProjectPath(), name, film.id)
    download(address, string.format("%s/export?kind=stem&stem=%d", path, stem), file)
    insert_stem(film, file, name)
  end
  insert_markers(film, get(address, path .. "/export?kind=markers"))
  reaper.UpdateArrange()
  reaper.Undo_EndBlock("foleygram: stems and markers", -1)
end

-- ---- running ----

local function reported(action)
  local ok, problem = pcall(action)
  if not ok then reaper.MB(type(problem) == "table" and problem.message or tostring(problem), TITLE, 0) end
end

local function follow(address, film, job)
  local asked = reaper.time_precise()
  local function poll()
    if reaper.time_precise() - asked < POLL_SEC then return reaper.defer(function() reported(poll) end) end
    asked = reaper.time_precise()
    local answer = get(address, "/api/jobs/" .. job)
    local state = answer:match('"state":"(%a+)"')
    if state == "done" then
      insert_take(address, film, tonumber(answer:match('"result":%[(%d+)')))
    elseif state == "waiting" or state == "running" then
      reaper.defer(function() reported(poll) end)
    else
      fail(answer:match('"error":"(.-[^\\])"') or "the work was cancelled")
    end
  end
  poll()
end

reported(function()
  local film = selected_film()
  local remembered = reaper.GetExtState(SECTION, "address")
  local fields = table.concat({ "", "0", remembered ~= "" and remembered or DEFAULT_ADDRESS }, "|")
  local ok, answer = reaper.GetUserInputs(TITLE, 3, "Prompt,Seed,Server,extrawidth=240,separator=|", fields)
  if not ok then return end
  local prompt, seed, address = answer:match("^(.-)|%s*(%d+)%s*|%s*(http://[%w%.%-:%[%]]+)/?%s*$")
  if not prompt then fail("give a whole number as seed, and an address such as " .. DEFAULT_ADDRESS) end
  reaper.SetExtState(SECTION, "address", address, true)
  film.id = upload(address, "/api/films/upload", film.file):match('"id":"([%w_%-]+)"')
  local asked = string.format('{"seed":%s,"prompt":%s,"segments":%s}', seed, json_string(prompt), segments(film))
  local job = post(address, "/api/films/" .. film.id .. "/takes", asked):match('"id":"([%w_%-]+)"')
  follow(address, film, job)
end)
