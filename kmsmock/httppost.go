package kmsmock

// httpPostURL is where Kurento's embedded HTTP server takes media in, with the
// address and port of its stock configuration. Here nothing listens there.
const httpPostURL = "http://localhost:9091/"

// An httpPost is the behaviour of an HttpPostEndpoint.
type httpPost struct {
	*element
	url string
}

func buildHTTPPostEndpoint(o *mediaObject, _ object) error {
	o.impl = &httpPost{element: newElement(o, "kmshttppostendpoint"), url: httpPostURL + o.srv.uuid()}
	return nil
}

func getURL(c *call) (value, error) { return c.obj.impl.(*httpPost).url, nil }
