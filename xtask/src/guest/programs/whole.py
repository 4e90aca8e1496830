import http.client
c = http.client.HTTPConnection("127.0.0.1", 8080)
for _ in range(20):
    c.request("POST", "/", b"x" * 300)
    c.getresponse().read()
c.close()
