import http.client
c = http.client.HTTPConnection("127.0.0.1", 8081)
for name in ["1", "1000", "100000"] * 5:
    c.request("GET", "/" + name)
    assert len(c.getresponse().read()) == int(name)
c.close()
