// @clickhouse/client against `mpsync engine`: what a user of the Node client does, done to the embedded engine.

import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { after, test } from 'node:test'
import { createClient } from '@clickhouse/client'

const url = process.env.MPSYNC_ENGINE_URL
const password = process.env.MPSYNC_ENGINE_PASSWORD
const opened = []

function connect(options = {}) {
  const client = createClient({ url, username: 'default', password, request_timeout: 300000, log: { level: 127 }, ...options })
  opened.push(client)
  return client
}

const client = connect()
after(() => Promise.all(opened.map((c) => c.close())))

const rows = async (query, options = {}, from = client) =>
  (await from.query({ query, format: 'JSONEachRow', ...options })).json()

test('ping says yes, with and without a query', async () => {
  assert.equal((await client.ping()).success, true)
  assert.equal((await client.ping({ select: true })).success, true)
})

test('every kind of statement runs', async () => {
  await client.command({ query: 'CREATE TABLE kinds (x UInt8) ENGINE = MergeTree ORDER BY x' })
  await client.command({ query: 'INSERT INTO kinds SELECT number FROM numbers(5)' })
  assert.deepEqual(await rows('SELECT sum(x) AS s FROM kinds'), [{ s: 10 }])
  assert.equal((await rows('SHOW TABLES LIKE \'kinds\''))[0].name, 'kinds')
  assert.equal((await rows('DESCRIBE TABLE kinds'))[0].type, 'UInt8')
  await client.command({ query: 'DROP TABLE kinds' })
  assert.deepEqual(await rows('EXISTS TABLE kinds'), [{ result: 0 }])
})

test('formats come as their documents', async () => {
  const json = await (await client.query({ query: 'SELECT 1 AS x', format: 'JSON' })).json()
  assert.deepEqual(json.data, [{ x: 1 }])
  assert.equal(json.rows, 1)
  const csv = await (await client.query({ query: 'SELECT 1 AS x', format: 'CSVWithNames' })).text()
  assert.equal(csv, '"x"\n1\n')
  const compact = await (await client.query({ query: 'SELECT 1 AS x', format: 'JSONCompactEachRow' })).json()
  assert.deepEqual(compact, [[1]])
})

test('parameters are bound by the server', async () => {
  const query_params = { text: "it's; --\n\t\\", number: -5, list: ['a', "b'c"], none: null, map: new Map([['k', 1]]) }
  const query =
    'SELECT {text:String} AS text, {number:Int32} AS number, {list:Array(String)} AS list, {none:Nullable(String)} AS none, {map:Map(String, UInt8)} AS map'
  assert.deepEqual(await rows(query, { query_params }), [
    { text: query_params.text, number: -5, list: ['a', "b'c"], none: null, map: { k: 1 } },
  ])
})

test('settings are of the query', async () => {
  const clickhouse_settings = { max_block_size: '1234' }
  assert.deepEqual(await rows("SELECT getSetting('max_block_size') AS s", { clickhouse_settings }), [{ s: 1234 }])
  assert.notDeepEqual(await rows("SELECT getSetting('max_block_size') AS s"), [{ s: 1234 }])
})

test('a large result is streamed', async () => {
  const result = await client.query({ query: 'SELECT number FROM numbers(1000000)', format: 'JSONEachRow' })
  let count = 0
  for await (const chunk of result.stream()) count += chunk.length
  assert.equal(count, 1000000)
})

test('arrays and streams are inserted, and the summary counts them', async () => {
  await client.command({ query: 'CREATE TABLE inserts (x UInt32, s String) ENGINE = MergeTree ORDER BY x' })
  const values = Array.from({ length: 1000 }, (_, x) => ({ x, s: `row ${x}` }))
  const inserted = await client.insert({ table: 'inserts', values, format: 'JSONEachRow' })
  assert.equal(inserted.summary?.written_rows, '1000')
  const stream = Readable.from((function* () {
    for (let x = 0; x < 100000; x++) yield { x, s: 'streamed' }
  })(), { objectMode: true })
  await client.insert({ table: 'inserts', values: stream, format: 'JSONEachRow' })
  const csv = Readable.from(['1,one\n', '2,two\n'], { objectMode: false })
  await client.insert({ table: 'inserts', values: csv, format: 'CSV' })
  await client.insert({ table: 'inserts', values: [{ x: 1 }], columns: ['x'], format: 'JSONEachRow' })
  assert.deepEqual(await rows('SELECT count() AS c FROM inserts'), [{ c: 101003 }])
})

test('compression works both ways', async () => {
  const compressed = connect({ compression: { request: true, response: true } })
  await compressed.command({ query: 'CREATE TABLE packed (x UInt32, s String) ENGINE = MergeTree ORDER BY x' })
  const values = Array.from({ length: 50000 }, (_, x) => ({ x, s: 'again and again' }))
  await compressed.insert({ table: 'packed', values, format: 'JSONEachRow' })
  const back = await rows('SELECT * FROM packed ORDER BY x', {}, compressed)
  assert.equal(back.length, 50000)
  assert.deepEqual(back[49999], values[49999])
  await assert.rejects(rows('SELECT * FROM nowhere', {}, compressed), { code: '60' })
})

test('parquet and arrow come and go as bytes', async () => {
  for (const format of ['Parquet', 'ArrowStream']) {
    const { stream } = await client.exec({ query: `SELECT number AS x FROM numbers(10000) FORMAT ${format}` })
    const parts = []
    for await (const part of stream) parts.push(part)
    await client.command({ query: `CREATE TABLE bytes_${format} (x UInt64) ENGINE = MergeTree ORDER BY x` })
    const sent = await client.exec({
      query: `INSERT INTO bytes_${format} FORMAT ${format}`,
      values: Readable.from([Buffer.concat(parts)], { objectMode: false }),
    })
    sent.stream.resume()
    await new Promise((resolve) => sent.stream.once('close', resolve))
    assert.deepEqual(await rows(`SELECT sum(x) AS s FROM bytes_${format}`), [{ s: 49995000 }])
  }
})

test('errors carry code and type', async () => {
  await assert.rejects(rows('SELECT * FROM nowhere'), { code: '60', type: 'UNKNOWN_TABLE' })
  await assert.rejects(client.command({ query: 'SELEC 1' }), { code: '62', type: 'SYNTAX_ERROR' })
  await assert.rejects(
    client.insert({ table: 'nowhere', values: [{ x: 1 }], format: 'JSONEachRow' }),
    { code: '60' },
  )
})

test('an error in mid-stream rejects the stream', async () => {
  const result = await client.query({
    query: "SELECT number, throwIf(number = 5000000, 'in the middle') FROM numbers(10000000)",
    format: 'JSONEachRow',
    clickhouse_settings: { max_threads: 1, max_block_size: '10000' },
  })
  await assert.rejects(async () => {
    for await (const _ of result.stream()) {
      // Read on until it breaks.
    }
  }, { code: '395', message: /in the middle/ })
  assert.deepEqual(await rows('SELECT 1 AS x'), [{ x: 1 }])
})

test('a wrong password is refused', async () => {
  const stranger = connect({ password: 'wrong' })
  await assert.rejects(rows('SELECT 1', {}, stranger), { code: '516', type: 'AUTHENTICATION_FAILED' })
})

test('a session has temporary tables', async () => {
  const session = connect({ session_id: 'node-session', max_open_connections: 1 })
  await session.command({ query: 'CREATE TEMPORARY TABLE mine (x UInt8)' })
  await session.insert({ table: 'mine', values: [{ x: 1 }, { x: 2 }], format: 'JSONEachRow' })
  assert.deepEqual(await rows('SELECT sum(x) AS s FROM mine', {}, session), [{ s: 3 }])
  await assert.rejects(rows('SELECT sum(x) AS s FROM mine'), { code: '60' })
})

test('a client has its database', async () => {
  await client.command({ query: 'CREATE DATABASE IF NOT EXISTS node_db' })
  assert.deepEqual(await rows('SELECT currentDatabase() AS d', {}, connect({ database: 'node_db' })), [{ d: 'node_db' }])
})

test('a query that is aborted ends on the server', async () => {
  const abort = new AbortController()
  const query_id = 'aborted-by-node'
  const endless = rows('SELECT max(cityHash64(number)) FROM numbers(1000000000000)', { query_id, abort_signal: abort.signal })
  const rejected = assert.rejects(endless)
  const running = async (condition) => (await rows(`SELECT count() AS c FROM system.processes WHERE ${condition}`))[0].c
  const deadline = Date.now() + 300000
  while ((await running(`query_id = '${query_id}'`)) !== 1) assert.ok(Date.now() < deadline, 'the query does not start')
  abort.abort()
  await rejected
  const like = "query LIKE '%numbers(1000000000000)%' AND query NOT LIKE '%system.processes%'"
  while ((await running(like)) !== 0) assert.ok(Date.now() < deadline, 'the query does not end')
})
