"""The functions and types that people's SQL may name, in lower case. None reads files, the network or tables."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


AGGREGATES = _words("""
    any any_value anyheavy anylast approx_top_k argmax argmin avg avgweighted boundingratio corr count
    covarpop covarsamp deltasum entropy exponentialmovingaverage first_value grouparray grouparraylast
    grouparraymovingavg grouparraysample grouparraysorted groupbitand groupbitor groupbitxor groupconcat
    groupuniqarray histogram intervallengthsum kurtpop kurtsamp last_value max max_by maxintersections
    maxmap median medianexact mediantdigest min min_by minmap quantile quantiledeterministic quantileexact
    quantileexacthigh quantileexactlow quantileexactweighted quantileinterpolatedweighted quantiles
    quantilesexact quantilestdigest quantiletdigest quantiletiming retention sequencecount sequencematch
    simplelinearregression singlevalueornull skewpop skewsamp std stddev_pop stddevpop stddevpopstable
    stddevsamp stddevsampstable string_agg sum sumcount sumkahan summap sumwithoverflow topk topkweighted
    uniq uniqcombined uniqcombined64 uniqexact uniqhll12 uniqupto varpop varsamp windowfunnel
""")

COMBINATORS = ("if", "distinct", "ornull", "ordefault", "array", "foreach")
"""Endings that an aggregate's name may take, as in `countIf`."""

WINDOW = _words("""
    cume_dist dense_rank lag laginframe lead leadinframe nth_value ntile percent_rank rank row_number
""")

STRINGS = _words("""
    alphatokens appendtrailingcharifabsent ascii base64decode base64encode basename bin bitcount char
    char_length character_length cityhash64 concat concat_ws concatwithseparator countmatches
    countsubstrings countsubstringscaseinsensitive dameraulevenshteindistance decodehtmlcomponent
    decodeurlcomponent digits domain domainwithoutwww editdistance empty encodeurlcomponent endswith
    extract extractall extractallgroups extractgroups extractkeyvaluepairs extracturlparameter farmhash64
    format formatreadabledecimalsize formatreadablequantity formatreadablesize formatreadabletimedelta
    fragment hassubsequence hastoken hastokencaseinsensitive hex ilike initcap instr isvalidutf8
    jarosimilarity lcase left leftpad leftpadutf8 leftutf8 length lengthutf8 levenshteindistance like
    locate lower lowerutf8 lpad ltrim match md5 mid multimatchany multisearchany multisearchfirstindex
    multisearchfirstposition naturalsortkey netloc ngramdistance ngramsearch notempty notilike notlike
    octet_length overlay path position positioncaseinsensitive positionutf8 protocol querystring
    regexp_extract regexpextract regexpquotemeta repeat replace replaceall replaceone replaceregexpall
    replaceregexpone reverse reverseutf8 right rightpad rightutf8 rpad rtrim sha1 sha256 siphash64 soundex
    space splitbychar splitbynonalpha splitbyregexp splitbystring splitbywhitespace startswith substr
    substring substring_index substringindex substringutf8 tokens topleveldomain tovalidutf8 translate
    translateutf8 trim trimboth trimleft trimright ucase unbin unhex upper upperutf8 xxhash32 xxhash64
""")

TIMES = _words("""
    adddate adddays addhours addinterval addmicroseconds addmilliseconds addminutes addmonths addquarters
    addseconds addweeks addyears age changeday changehour changeminute changemonth changesecond changeyear
    current_date current_timestamp date date_add date_bin date_diff date_format date_sub date_trunc
    dateadd datediff datename datesub datetime datetrunc day dayofmonth dayofweek dayofyear formatdatetime
    formatdatetimeinjodasyntax from_unixtime fromunixtimestamp fromunixtimestamp64micro
    fromunixtimestamp64milli fromunixtimestamp64nano fromunixtimestamp64second hour last_day makedate
    makedatetime makedatetime64 minute month monthname now now64 parsedatetime parsedatetime64
    parsedatetime64besteffort parsedatetime64besteffortornull parsedatetimebesteffort
    parsedatetimebesteffortornull parsedatetimebesteffortorzero parsedatetimeornull quarter second subdate
    subtractdays subtracthours subtractinterval subtractmicroseconds subtractmilliseconds subtractminutes
    subtractmonths subtractquarters subtractseconds subtractweeks subtractyears time_bucket timediff
    timeslot timeslots timestamp timestamp_add timestamp_diff timestamp_sub timestampadd timestampdiff
    timestampsub timezone timezoneof timezoneoffset todate todate32 todateornull todateorzero todatetime
    todatetime64 todatetime64ornull todatetimeornull todatetimeorzero today todayofmonth todayofweek
    todayofyear todaysinmonth tohour tointerval tointervalday tointervalhour tointervalmicrosecond
    tointervalmillisecond tointervalminute tointervalmonth tointervalquarter tointervalsecond
    tointervalweek tointervalyear toisoweek toisoyear tolastdayofmonth tolastdayofweek tomillisecond
    tominute tomonday tomonth toquarter torelativedaynum torelativehournum torelativeminutenum
    torelativemonthnum torelativesecondnum torelativeweeknum tosecond tostartofday tostartoffifteenminutes
    tostartoffiveminutes tostartofhour tostartofinterval tostartofisoyear tostartofmicrosecond
    tostartofmillisecond tostartofminute tostartofmonth tostartofquarter tostartofsecond
    tostartoftenminutes tostartofweek tostartofyear totimezone tounixtimestamp tounixtimestamp64micro
    tounixtimestamp64milli tounixtimestamp64nano tounixtimestamp64second toweek toyear toyearweek toyyyymm
    toyyyymmdd toyyyymmddhhmmss uuidv7todatetime week year yearweek yesterday
""")

ARRAYS = _words("""
    array arrayall arrayavg arraycompact arrayconcat arraycount arraycumsum arraycumsumnonnegative
    arraydifference arraydistinct arraydotproduct arrayelement arrayelementornull arrayenumerate
    arrayenumeratedense arrayenumerateuniq arrayexcept arrayexists arrayfill arrayfilter arrayfirst
    arrayfirstindex arrayfirstornull arrayflatten arrayfold arrayintersect arrayjaccardindex arrayjoin
    arraylast arraylastindex arraylastornull arraymap arraymax arraymin arraypartialsort arraypopback
    arraypopfront arrayproduct arraypushback arraypushfront arrayresize arrayreverse arrayreversefill
    arrayreversesort arrayreversesplit arrayrotateleft arrayrotateright arrayshiftleft arrayshiftright
    arrayshingles arrayslice arraysort arraysplit arraystringconcat arraysum arraysymmetricdifference
    arrayunion arrayuniq arraywithconstant arrayzip arrayzipunaligned countequal emptyarraystring flatten
    has hasall hasany hassubstr indexof indexofassumesorted map mapadd mapall mapapply mapconcat
    mapcontains mapcontainskey mapcontainsvalue mapexists mapextractkeylike mapfilter mapfromarrays
    mapkeys mapreversesort mapsort mapsubtract mapupdate mapvalues materialize range tuple tupleconcat
    tupledivide tupleelement tupleminus tuplemultiply tuplenames tupleplus tupletonamevaluepairs
""")

JSON = _words("""
    isvalidjson json_array_length json_exists json_query json_value jsonallpaths jsonallpathswithtypes
    jsonallvalues jsonarraylength jsondynamicpaths jsonextract jsonextractarrayraw jsonextractbool
    jsonextractcaseinsensitive jsonextractfloat jsonextractint jsonextractkeys jsonextractkeysandvalues
    jsonextractkeysandvaluesraw jsonextractraw jsonextractstring jsonextractuint jsonhas jsonkey
    jsonlength jsonmergepatch jsontype prettyprintjson simplejsonextractbool simplejsonextractfloat
    simplejsonextractint simplejsonextractraw simplejsonextractstring simplejsonextractuint simplejsonhas
    tojsonstring
""")

NUMBERS = _words("""
    abs acos acosh asin asinh atan atan2 atanh bitand bitnot bitor bitrotateleft bitrotateright
    bitshiftleft bitshiftright bittest bittestall bittestany bitxor byteswap cbrt ceil ceiling clamp cos
    cosh degrees divide divideornull e erf erfc exp exp10 exp2 factorial floor gcd greatest hypot
    ifnotfinite intdiv intdivornull intdivorzero intexp10 intexp2 isfinite isinfinite isnan lcm least
    lgamma ln log log10 log1p log2 max2 min2 minus mod modulo moduloornull moduloorzero multiply negate pi
    plus positivemodulo pow power radians round roundage roundbankers rounddown roundtoexp2 sigmoid sign
    sin sinh sqrt tan tanh tgamma trunc truncate width_bucket widthbucket
""")

CONDITIONS = _words("""
    and assumenotnull casewithexpression casewithoutexpression coalesce equals greater greaterorequals if
    ifnull isdistinctfrom isnotdistinctfrom isnotnull isnull isnullable iszeroornull less lessorequals
    multiif not notequals nullif or transform xor
""")

CONVERSIONS = _words("""
    _cast accuratecast accuratecastordefault accuratecastornull bar cast parsereadablesize
    parsereadablesizeornull parsetimedelta reinterpret reinterpretasint64 reinterpretasstring
    reinterpretasuint64 tobool tocolumntypename todecimal128 todecimal32 todecimal64 todecimal64ornull
    todecimal64orzero todecimalstring tofixedstring tofloat32 tofloat32ornull tofloat32orzero tofloat64
    tofloat64ordefault tofloat64ornull tofloat64orzero toint128 toint16 toint16ornull toint16orzero
    toint256 toint32 toint32ornull toint32orzero toint64 toint64ordefault toint64ornull toint64orzero
    toint8 toint8ornull toint8orzero toipv4 toipv6 tolowcardinality tonullable tostring tostringcuttozero
    totypename touint128 touint16 touint16ornull touint16orzero touint256 touint32 touint32ornull
    touint32orzero touint64 touint64ordefault touint64ornull touint64orzero touint8 touint8ornull
    touint8orzero touuid touuidornull
""")

TYPES = _words("""
    array datetime datetime64 decimal decimal128 decimal32 decimal64 dynamic enum enum16 enum8 fixedstring
    json lowcardinality map nested nullable tuple variant
""")

FUNCTIONS = AGGREGATES | WINDOW | STRINGS | TIMES | ARRAYS | JSON | NUMBERS | CONDITIONS | CONVERSIONS | TYPES


def is_allowed(name: str) -> bool:
    """Whether people's SQL may call the function of this name, written in any case."""
    return name.lower() in FUNCTIONS or _is_aggregate(name.lower())


def _is_aggregate(name: str) -> bool:
    return name in AGGREGATES or any(
        name.endswith(ending) and _is_aggregate(name.removesuffix(ending)) for ending in COMBINATORS
    )
