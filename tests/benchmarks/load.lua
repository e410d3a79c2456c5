-- GET of the first N products in turn, over all connections: `wrk -s load.lua URL -- N`.
-- Its last line is requests answered, errors, and seconds.
local requests = {}
local turn = 0

function init(arguments)
    for number = 1, tonumber(arguments[1]) do
        requests[number] = wrk.format("GET", "/shop/products/" .. number - 1)
    end
end

function request()
    turn = turn % #requests + 1
    return requests[turn]
end

function done(summary)
    local errors = 0
    for _, count in pairs(summary.errors) do
        errors = errors + count
    end
    print(summary.requests, errors, summary.duration / 1e6)
end
